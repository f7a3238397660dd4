// Package state is the Cloud Controller's replicated state: tables of
// controller/cf rows and the commands that change them, one file for each
// resource.
//
// A command runs inside Raft's state machine, on every controller in the same
// order. It must be deterministic: GUIDs, times and random values are inputs,
// made by whoever proposes. Uniqueness, quotas and other preconditions are
// checked in the command itself and refused with a *[cf.Error]; nothing of a
// refused command is kept. Reading first and writing later would race.
//
// A new resource is a file here (see organization.go), one in controller/cf
// and one in controller/api.
package state
