// Package agent is the daemon of a node: it puts the parts under agent/
// together. [New] reads what is on disk, [Agent.Run] serves the local API and,
// once the machine is a member of a cluster, runs its duties.
//
//   - setup*.go    makes a machine the first node or a member
//   - store.go     what a node keeps on disk, identity and assignment
//   - runtime.go   one life as a member: start in order, stop in order
//   - follow.go    takes over each new assignment
//   - controller.go, children.go, renew.go   the duties that follow from it
//   - primary.go   what only the Primary does outside of Raft
//   - backend_*.go the local API's operations, for kato
package agent
