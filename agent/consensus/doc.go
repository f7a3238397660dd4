// Package consensus keeps the cluster's replicated state: one Raft group of
// controller nodes, and on each of them the same in-memory tables.
//
// Other packages register tables ([Registry.AddTable]) and commands
// ([Register]) before a [Node] is opened. A command is the only way to change
// a row: it is a type, a version and explicit fields, applied by a
// deterministic function inside the state machine. Time, identities and
// random values are inputs of a command, never read by it.
//
// Writes go through [Node.Propose] on any node and are forwarded to the
// leader; reads that must be fresh call [Node.ReadIndex] first and then read
// the local tables through [Node.State]. DESIGN.md has the reasons.
//
// This is the only package that imports hashicorp/raft.
package consensus
