// Package instances is the soft state of the Cloud Controller: what the nodes
// say of the instances that run on them. It is never written down; a
// controller that starts learns it from the nodes.
//
// While it is learning, a controller must withdraw no route and repair no job:
// what it does not see may well run (see [Table.Learned]).
package instances
