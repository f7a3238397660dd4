// Package consul runs the Consul agent of a node: it renders the configuration,
// says how the process is supervised, and wraps the few calls of its HTTP API
// that membership and access control need.
//
// # Decisions
//
// The HTTP API listens on loopback only, without TLS: ACLs (default deny)
// decide there, and `consul` on the node works as operators know it. Between
// nodes there are the gossip port (encrypted) and the server RPC port (mutual
// TLS, server names verified).
//
// Gossip keys stand in the keyring file and not in the configuration, because
// Consul ignores a configured key as soon as that file exists: a node that was
// off while keys changed would never come back. Write puts the file right
// before each start.
//
// A server that was off for more than server_rejoin_age_max (7 days by
// default) refuses to start; a cluster that was switched off for months must
// come back, so it is ten years here.
//
// A Consul that starts swallows the signal to stop: it is heard by what only
// waits for the start's end (command/agent/agent.go, handleStartupSignals). A
// node that joins becomes a server while its Consul starts, so the signal is
// repeated.
//
// Addresses of other servers, tokens and gossip keys are not part of the
// configuration hash: when they change the process takes them over by a reload or at
// its next start. If they were, one joining server would restart Consul on
// every node at once.
package consul
