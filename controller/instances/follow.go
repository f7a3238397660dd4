package instances

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stackato/stackato/wire/instance"
)

// Pauses between two attempts to reach a node.
const (
	reachPause    = 100 * time.Millisecond
	reachPauseMax = 3 * time.Second
)

// Run follows the nodes until ctx is done.
func (t *Table) Run(ctx context.Context) error {
	timer := time.AfterFunc(t.cfg.LearnWithin, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.timeUp = true
		t.maybeLearned()
	})
	defer timer.Stop()
	if t.cfg.Placements != nil {
		settling := make(chan struct{})
		go func() {
			defer close(settling)
			t.settle(ctx)
		}()
		defer func() { <-settling }()
	}
	for ctx.Err() == nil {
		deas, changed := t.cfg.Nodes.DEAs()
		t.reconcile(ctx, deas)
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	t.reconcile(ctx, nil)
	return nil
}

// reconcile follows the given nodes and forgets the others.
func (t *Table) reconcile(ctx context.Context, deas []string) {
	t.mu.Lock()
	var ended []*nodeView
	for id, v := range t.nodes {
		if !slices.Contains(deas, id) {
			v.cancel()
			ended = append(ended, v)
		}
	}
	for _, id := range deas {
		if t.nodes[id] == nil {
			run, cancel := context.WithCancel(ctx)
			v := &nodeView{cancel: cancel, done: make(chan struct{}), since: t.cfg.Now()}
			t.nodes[id] = v
			go func() {
				defer close(v.done)
				t.follow(run, id, v)
			}()
		}
	}
	t.mu.Unlock()
	for _, v := range ended {
		<-v.done
	}
	stopping := ctx.Err() != nil
	t.mu.Lock()
	for id := range t.nodes {
		if !slices.Contains(deas, id) {
			delete(t.nodes, id)
			delete(t.liars, id)
			if !stopping { // else what was known stays for those who still read
				t.apply(id, instance.Report{Snapshot: true})
			}
		}
	}
	if !stopping {
		t.maybeLearned()
	}
	t.mu.Unlock()
}

// allSpoke reports whether every followed node has sent a snapshot.
func (t *Table) allSpoke() bool {
	for _, v := range t.nodes {
		if !v.spoke {
			return false
		}
	}
	return true
}

// maybeLearned notes that all is known that can be. The lock is held.
func (t *Table) maybeLearned() {
	if !t.isLearned() && (t.timeUp || t.allSpoke()) && !t.unsettled() {
		close(t.learned)
	}
}

func (t *Table) isLearned() bool {
	select {
	case <-t.learned:
		return true
	default:
		return false
	}
}

// follow keeps a stream to one node open until ctx is done.
func (t *Table) follow(ctx context.Context, id string, v *nodeView) {
	for pause := reachPause; ctx.Err() == nil; pause = min(2*pause, reachPauseMax) {
		err := t.cfg.Nodes.States(ctx, id, func(r instance.Report) {
			pause = reachPause
			t.receive(id, v, r)
		})
		t.mu.Lock()
		if v.open {
			v.open, v.since = false, t.cfg.Now()
			t.cfg.Logger.Info("a node's instance states are not heard of any more", "id", id, "err", err)
		}
		t.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// maxImages bounds what a node says of its images.
const maxImages = 200

// receive takes in a message of a node.
func (t *Table) receive(id string, v *nodeView, r instance.Report) {
	t.mu.Lock()
	if t.nodes[id] != v { // not followed any more
		t.mu.Unlock()
		return
	}
	if r.Snapshot {
		v.spoke = true
	}
	if !v.open {
		v.open, v.since = true, t.cfg.Now()
	}
	if r.Images != nil && len(*r.Images) <= maxImages {
		v.images = r.Images
	}
	t.apply(id, r)
	t.maybeLearned()
	t.mu.Unlock()
}

// apply changes the table and tells subscribers. A snapshot replaces all that
// was known of the node.
func (t *Table) apply(node string, r instance.Report) {
	changed := map[string]struct{}{}
	if r.Snapshot {
		keep := map[string]struct{}{}
		for _, s := range r.Instances {
			keep[s.AllocID] = struct{}{}
		}
		for id := range t.byNode[node] {
			if _, ok := keep[id]; !ok {
				t.forget(id, changed)
			}
		}
		t.unclaimBut(node, keep)
	}
	for _, s := range r.Instances {
		s.Node = node // a node speaks for itself alone
		if was, ok := t.all[s.AllocID]; ok && was.Node != node {
			continue
		}
		if s.State == instance.Gone {
			t.unclaim(node, s.AllocID)
			if was, ok := t.all[s.AllocID]; ok {
				t.tell(was, s)
			}
			t.forget(s.AllocID, changed)
			continue
		}
		if t.believe(s, changed) {
			t.put(s, changed)
		}
	}
	t.publish(changed)
}

// publish tells subscribers of apps whose instances have changed. The lock is
// held.
func (t *Table) publish(changed map[string]struct{}) {
	if len(changed) == 0 {
		return
	}
	t.version++
	for sub := range t.subs {
		sub.add(changed)
	}
}

func (t *Table) tell(was, is instance.Status) {
	if t.exits != nil {
		t.exits(was, is)
	}
}

func (t *Table) put(s instance.Status, changed map[string]struct{}) {
	was, known := t.all[s.AllocID]
	if known && (was.AppGUID != s.AppGUID || was.ProcessGUID != s.ProcessGUID) {
		t.forget(s.AllocID, changed)
	}
	t.all[s.AllocID] = s
	link(t.byProcess, s.ProcessGUID, s.AllocID)
	link(t.byApp, s.AppGUID, s.AllocID)
	link(t.byNode, s.Node, s.AllocID)
	if !known || differs(was, s) {
		changed[s.AppGUID] = struct{}{}
		t.tell(was, s)
	}
}

// differs ignores what is only measured.
func differs(a, b instance.Status) bool {
	a.Usage, b.Usage = instance.Usage{}, instance.Usage{}
	return a != b
}

func (t *Table) forget(id string, changed map[string]struct{}) {
	s, ok := t.all[id]
	if !ok {
		return
	}
	delete(t.all, id)
	delete(t.admitted, id)
	unlink(t.byProcess, s.ProcessGUID, id)
	unlink(t.byApp, s.AppGUID, id)
	unlink(t.byNode, s.Node, id)
	changed[s.AppGUID] = struct{}{}
}

func link(index map[string]map[string]struct{}, key, id string) {
	set := index[key]
	if set == nil {
		set = map[string]struct{}{}
		index[key] = set
	}
	set[id] = struct{}{}
}

func unlink(index map[string]map[string]struct{}, key, id string) {
	delete(index[key], id)
	if len(index[key]) == 0 {
		delete(index, key)
	}
}
