// Package member is the cluster's gossip: it says which nodes this node can
// reach, directly or through others, and what each of them says of itself.
//
// It answers "reachable", never "belongs". The nodes table in Raft says who is
// a member; Nomad's heartbeat says what must be rescheduled. Nothing is killed,
// moved, charged with a role or trusted because of gossip: its users are
// displays, hints, and the grace time after which a dead voter is replaced.
//
// Every packet and stream is encrypted with the gossip key (AES-GCM). A node
// without the key is never in; one with the key but of another cluster is
// refused by the cluster id in its metadata.
//
// The package wraps hashicorp/memberlist and is its only importer; no type of
// it appears in the API. DESIGN.md tells the choices.
package member
