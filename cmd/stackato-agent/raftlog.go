package main

import (
	"context"
	"encoding/json"

	"github.com/hashicorp/go-memdb"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/controller/state"
)

// raftLog is the Cloud Controller's log: this node's consensus.
type raftLog struct{ cons *consensus.Node }

// registerState adds the Cloud Controller's tables and commands.
func registerState(r *consensus.Registry) {
	for _, t := range state.Tables() {
		consensus.AddTableFunc(r, t.Schema, t.New)
	}
	for _, c := range state.Commands() {
		consensus.RegisterFunc(r, c.Type, c.Version, c.Decode)
	}
}

// Propose implements state.Log.
func (l raftLog) Propose(ctx context.Context, p state.Proposal) (json.RawMessage, error) {
	return l.cons.Propose(ctx, consensus.Proposal{ID: p.ID, Type: p.Type, Version: p.Version, Data: p.Data, Term: p.Term})
}

// ReadIndex implements state.Log.
func (l raftLog) ReadIndex(ctx context.Context) error { return l.cons.ReadIndex(ctx) }

// Snapshot implements state.Log.
func (l raftLog) Snapshot() (*memdb.Txn, uint64) {
	v := l.cons.State().Read()
	return v.Txn(), v.Index()
}

// Watch implements state.Log.
func (l raftLog) Watch(ctx context.Context, read func(*memdb.Txn, memdb.WatchSet, uint64)) error {
	return l.cons.State().Watch(ctx, func(v *consensus.View) { read(v.Txn(), v.WatchSet(), v.Index()) })
}
