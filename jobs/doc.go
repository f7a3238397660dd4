// Package jobs turns what shall run into Nomad jobs. It is pure: the same
// input gives the same job, which is held by golden files in testdata
// (go test ./jobs -update writes them anew).
//
// A job says where and how big, never what: no environment of the app, no
// droplet, no token. Nomad's state and API would show them. A container's
// first process asks the node's fence for the rest.
//
// Nomad's own deployments are off (update.max_parallel = 0): they stop an old
// instance before its successor starts. One version of a process is one job,
// and an existing job is only ever changed in its count, because Nomad
// replaces all instances at once of a job that differs in anything else,
// its metadata included.
package jobs
