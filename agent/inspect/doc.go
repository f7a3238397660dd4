// Package inspect is a node's self-diagnosis, what `kato inspect` shows: checks
// that look at the machine and at what the agent knows of the cluster. Each
// finding has its figures, and what to type when it is not ok.
//
// Checks change nothing but for one small file that the disk check writes and
// deletes. They are independent of each other: one that fails, panics or hangs
// is a finding and nothing more. They take what they need from an [Env], so the
// package depends on no running part of the agent.
package inspect
