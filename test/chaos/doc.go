// Package chaos holds the tests that put whole nodes through what machines
// suffer: pauses, cuts, power losses, full disks, replacement one by one. Nodes
// are containers, see test/cluster; what clients saw meanwhile is checked for
// linearizability with porcupine.
//
// The tests run with STACKATO_TEST_DOCKER=1, as root, on a machine with a
// Docker Engine. STACKATO_TEST_LONG=1 adds the long ones; STACKATO_TEST_SEED
// repeats a random run.
package chaos
