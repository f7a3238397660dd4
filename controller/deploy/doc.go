// Package deploy brings Nomad's jobs in line with the Cloud Controller's rows:
// one job for each version of a process that shall run, one for each task, one
// for each build. It runs on the Primary only and keeps nothing: what it knows
// is read from the rows, from Nomad and from what the nodes say of their
// instances, so that a new Primary goes on wherever the old one was.
//
// # Rolling deployments
//
// Nomad's own stop an old instance before the new one has started, so they are
// off and ours are two jobs: the new version's grows by at most max_in_flight
// instances that are not ready, the old one's shrinks by what the new one has
// ready. The counts are worked out anew in every pass (see rollout.go); an old
// instance goes only if as many are ready without it as were asked for.
//
// # Fencing
//
// A Primary that was paused must do no harm. A pass lists the jobs first, then
// reads the rows with ReadIndex, then writes with the index that it listed: a
// job that another Primary has changed since refuses the write, and if none
// has, the rows that were read are at least as new as those that the other
// Primary saw. Writes to the rows carry the term.
package deploy
