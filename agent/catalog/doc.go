// Package catalog keeps this node's services in Consul's catalog: one for each
// installed role, with a check that asks the role itself.
//
// A Registrar is told what should be there and brings the local Consul agent to
// it, again and again: an agent that was restarted with an empty data directory
// gets everything back. The Consul agent brings its services to the servers by
// itself (anti-entropy), usually within a second.
//
// The catalog is derived. It is for discovery by routers and people; who
// belongs to the cluster stands in the nodes table, and nothing is decided by
// what the catalog says.
//
// Entries whose id does not begin with [IDPrefix] belong to others (Nomad, an
// operator) and are never touched.
package catalog
