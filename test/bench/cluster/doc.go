// Package cluster measures a cluster of node containers: failover beside
// Consul on the same nodes, join, role changes, memory and idle CPU. Run it
// with "make bench"; docs/benchmarks.md has the results.
package cluster
