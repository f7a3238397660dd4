// Package micro is a client of the micro cloud of this machine, for benchmarks:
// they push by the API's own calls, so that a phase begins and ends where they
// say. "make micro" starts one; without it the benchmarks skip.
//
// STACKATO_BENCH_DATA is its data directory, by default /var/lib/stackato.
package micro
