// Package nomad runs the Nomad agent of a node: it renders the configuration,
// says how the process is supervised, and wraps the calls of its HTTP API
// that membership, access control and node metadata need. Jobs are none of
// its business.
//
// # Decisions
//
// The HTTP API listens on loopback without TLS, with ACLs on: `nomad` on the
// node works as operators know it, and nobody else reaches the port. Between
// nodes there are RPC (mutual TLS, server names verified) and, between
// servers, gossip (encrypted).
//
// Nomad's own integration with Consul is off: our catalog entries are made by
// the agent, and Nomad would otherwise talk to whatever Consul it finds.
//
// A Nomad node and a Nomad server have the node's id: Write puts it where
// Nomad would put one of its own, so that nobody has to look it up.
//
// Nomad has no call to leave. SIGINT makes it leave, SIGTERM only stop: use
// Child.StopBy(ctx, nomad.LeaveSignal).
//
// Roles and zones reach a running client as dynamic metadata. They, the
// addresses of servers and gossip keys are not part of the configuration
// hash: a change restarts nothing.
//
// A node with server and client is ready only when its client has registered:
// a restarted one is often refused by its own server, which has not read its
// log, and would wait 15 to 30 s. It is made to try again, see
// [Client.Registered].
//
// Drivers other than docker are switched off, and so are the fingerprints
// that ask the network (cloud metadata, Consul, Vault): one of them ends the
// agent on a wrong AWS_CA_BUNDLE, and each costs seconds where nothing answers.
package nomad
