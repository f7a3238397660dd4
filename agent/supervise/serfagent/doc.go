// Package serfagent holds what the agents of Consul and Nomad have in common:
// an HTTP API on loopback, servers in one Raft group, a Serf keyring in a file,
// and a configuration file of which a part is read again on SIGHUP. What only
// one of them has lies in its own package.
package serfagent
