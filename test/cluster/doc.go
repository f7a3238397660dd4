// Package cluster runs a Stackato cluster on one machine, for tests: each
// node is a container of the node image (packer/rootfs) with its own address,
// its own disk and its own Docker Engine, and runs the binaries of the
// repository's bin/ folder. Nodes can be killed, paused, cut off from each
// other, restarted and rejoined, and asked things.
//
// A test begins with [New], which skips unless STACKATO_TEST_DOCKER=1 and
// removes everything again when the test ends. The command cmd/cluster keeps
// a cluster for people, with [Create] and [Load].
//
// The harness steers nodes from outside: signals go to host process ids,
// partitions are rules in the nodes' network namespaces, the agent is started
// through files on the node's volume (see packer/rootfs/container). So it
// works on nodes that are paused or off, and costs milliseconds. It must
// therefore run as root on the machine of the Docker Engine.
//
// All methods are safe for concurrent use, except that one node is not to be
// powered on, off, paused or destroyed by two goroutines at once. Methods
// without another bound end after two minutes when their context has no
// deadline.
package cluster
