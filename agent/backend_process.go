package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/agent/supervise"
)

func isEnded(err error) bool { return errors.Is(err, supervise.ErrEnded) }

// Processes implements local.ProcessBackend.
func (b *backend) Processes(ctx context.Context, all bool) ([]local.Process, error) {
	r, err := b.member()
	if err != nil {
		return nil, err
	}
	if !all {
		return r.processes(), nil
	}
	out := []local.Process{}
	for _, s := range r.askAll(ctx) {
		if s.err != nil {
			out = append(out, local.Process{Node: s.node.Name, State: local.StateUnknown, Error: s.err.Error()})
			continue
		}
		out = append(out, s.Processes...)
	}
	return out, nil
}

// answer is one node's status, or why there is none.
type answer struct {
	statusResponse
	node  node.Node
	err   error
	asked time.Time     // by this node's clock
	took  time.Duration // until the answer
}

// askAll asks every node at once for its status, with one deadline each.
func (r *runtime) askAll(ctx context.Context) []answer { return r.askAllAt(ctx, 0) }

// askAllAt is askAll of nodes that should have taken over the state at index.
func (r *runtime) askAllAt(ctx context.Context, index uint64) []answer {
	nodes := r.dir.get().Nodes
	out := make([]answer, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { out[i] = r.askOne(ctx, n, index) })
	}
	wg.Wait()
	return out
}

func (r *runtime) askOne(ctx context.Context, n node.Node, index uint64) answer {
	if n.ID == r.id.ID {
		r.catchUp(ctx, index)
		return answer{statusResponse: r.ownStatus(ctx), node: n}
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	asked, began := r.cfg.Now(), time.Now()
	s, err := rpc.Call(ctx, r.client, rpc.Target{ID: n.ID, Addr: n.RPCAddr()}, methodStatus, &statusRequest{Index: index})
	if err != nil {
		return answer{node: n, err: err, asked: asked, took: time.Since(began)}
	}
	return answer{statusResponse: *s, node: n, asked: asked, took: time.Since(began)}
}

// ProcessRestart implements local.ProcessBackend.
func (b *backend) ProcessRestart(ctx context.Context, name string, p local.Progress) (local.Process, error) {
	r, err := b.member()
	if err != nil {
		return local.Process{}, err
	}
	child, ok := r.kids.child(name)
	if !ok {
		return local.Process{}, local.Errorf(local.CodeNotFound, "see: kato process list", "no process %q runs on this node", name)
	}
	step := stepper(p)
	step("restart " + name)
	if err := child.Restart(ctx); err != nil {
		return local.Process{}, err
	}
	if err := child.AwaitReady(ctx); err != nil {
		return local.Process{}, err
	}
	step("")
	for _, proc := range r.processes() {
		if proc.Name == name {
			return proc, nil
		}
	}
	return local.Process{}, fmt.Errorf("the process %s went away", name)
}

// ProcessReady implements local.ProcessBackend.
func (b *backend) ProcessReady(_ context.Context, name string) (local.Readiness, error) {
	r, err := b.member()
	if err != nil {
		return local.Readiness{}, err
	}
	out := local.Readiness{Ready: true, Waiting: []local.Process{}}
	found := false
	for _, p := range r.processes() {
		if name != "" && name != "all" && name != p.Name {
			continue
		}
		found = true
		if !p.Ready {
			out.Ready = false
			out.Waiting = append(out.Waiting, p)
		}
	}
	if !found && name != "" && name != "all" {
		return out, local.Errorf(local.CodeNotFound, "see: kato process list", "no process %q runs on this node", name)
	}
	return out, nil
}

// ConfigList implements local.ConfigBackend.
func (b *backend) ConfigList(ctx context.Context, prefix string) ([]local.ConfigEntry, error) {
	r, err := b.member()
	if err != nil {
		return nil, err
	}
	resp, err := ask(ctx, r, cluster.MethodSettings, &cluster.SettingsRequest{Prefix: prefix})
	if err != nil {
		return nil, err
	}
	out := []local.ConfigEntry{}
	known := cluster.KnownSettings()
	set := map[string]bool{}
	for _, s := range resp.Settings {
		set[s.Key] = true
		out = append(out, configEntry(s))
	}
	for _, k := range known {
		if !set[k.Key] && cluster.Below(k.Key, prefix) {
			out = append(out, local.ConfigEntry{Key: k.Key, Value: k.Default, Type: cluster.JSONType(k.Default), Description: k.Description})
		}
	}
	slices.SortFunc(out, func(a, b local.ConfigEntry) int { return cmp.Compare(a.Key, b.Key) })
	return out, nil
}

func configEntry(s cluster.Setting) local.ConfigEntry {
	e := local.ConfigEntry{Key: s.Key, Value: s.Value, Type: cluster.JSONType(s.Value), Set: true, Version: s.Version, Modified: s.Modified}
	for _, k := range cluster.KnownSettings() {
		if k.Key == s.Key {
			e.Description = k.Description
		}
	}
	return e
}

// ConfigSet implements local.ConfigBackend.
func (b *backend) ConfigSet(ctx context.Context, req local.ConfigSetRequest) (local.ConfigEntry, error) {
	r, _, err := b.controllerOnly()
	if err != nil {
		return local.ConfigEntry{}, err
	}
	s, err := ask(ctx, r, cluster.MethodPutSetting, &cluster.PutSettingRequest{
		Key: req.Key, Value: req.Value, Force: req.Force, IfVersion: req.IfVersion,
	})
	if err != nil {
		return local.ConfigEntry{}, err
	}
	return configEntry(*s), nil
}

// ConfigDel implements local.ConfigBackend.
func (b *backend) ConfigDel(ctx context.Context, key string) error {
	_, c, err := b.controllerOnly()
	if err != nil {
		return err
	}
	return c.DelSetting(ctx, key)
}
