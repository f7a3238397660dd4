// Package routes makes the routers' feed: routes of the replicated state
// combined with what the nodes say of instances.
//
// A route has a backend for each instance that is ready. A controller that is
// still learning from the nodes sends nothing: a router keeps the table that it
// has, which is better than one with holes.
package routes
