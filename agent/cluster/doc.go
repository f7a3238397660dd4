// Package cluster keeps what the cluster knows of itself: its nodes and their
// roles, join tokens, authorities, sealed secrets and settings. It decides
// who may join, issues certificates, and on the Primary keeps the Raft voters
// in line with the controllers.
//
// The tables and commands here are registered with agent/consensus; every
// rule that concerns more than one row is checked inside a command's apply
// function. [Controller] offers the operations on controller nodes; other
// nodes reach them by the RPC methods of this package.
package cluster
