// Package resolver answers the DNS questions of containers on their own node.
// Names below the cluster's domain lead to routers, whether or not the world
// knows them; every other name is asked of the node's own resolvers.
//
// It listens on one address that is the same on every node, so that the jobs
// of all nodes can name it: a link-local one on the loopback interface, which
// containers reach through their bridge. What they reach there is decided by
// fence's guard: port 53, and nothing of the node beside it.
package resolver
