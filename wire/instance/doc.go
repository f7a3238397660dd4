// Package instance holds what controllers and nodes say to each other about
// instances of processes: the specification that an instance is started from,
// and the state that the node reports. The types are leaf types: JSON on the
// wire, no behaviour beyond small predicates.
package instance
