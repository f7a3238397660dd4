// Package deploytest stands in for Nomad in tests of controllers: it places
// allocations at once and behaves otherwise as Nomad was measured to.
package deploytest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/hashicorp/nomad/api"

	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/jobs"
)

// Nomad is a scheduler in memory. It is safe for concurrent use.
type Nomad struct {
	// Fail, if not nil, may refuse a call: "register", "scale", "remove",
	// "jobs", "allocations", "unplaced".
	Fail func(call, id string) error
	// Room is how many containers there is room for; negative: no bound.
	Room int
	// Nodes that containers are placed on, in turn; one if empty.
	Nodes []string
	// Why is the answer of Unplaced for a job without room.
	Why *deploy.Unplaced

	mu        sync.Mutex
	index     uint64
	jobs      map[string]*job
	allocs    map[string]*deploy.Alloc
	changed   chan struct{}
	collected int
}

type job struct {
	spec  *api.Job
	index uint64
	count int
	batch bool
}

var _ deploy.Nomad = (*Nomad)(nil)

// New returns a scheduler with room for everything.
func New() *Nomad {
	return &Nomad{
		Room: -1, index: 1,
		jobs: map[string]*job{}, allocs: map[string]*deploy.Alloc{}, changed: make(chan struct{}),
	}
}

func (n *Nomad) fails(call, id string) error {
	if n.Fail == nil {
		return nil
	}
	return n.Fail(call, id)
}

// touch tells who waits that something has changed.
func (n *Nomad) touch() {
	n.index++
	close(n.changed)
	n.changed = make(chan struct{})
}

// Jobs implements deploy.Nomad.
func (n *Nomad) Jobs(ctx context.Context, prefix string, after uint64) ([]deploy.Job, uint64, error) {
	for {
		if err := n.fails("jobs", prefix); err != nil {
			return nil, 0, err
		}
		n.mu.Lock()
		if n.index > after {
			defer n.mu.Unlock()
			return n.list(prefix), n.index, nil
		}
		changed := n.changed
		n.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-changed:
		}
	}
}

func (n *Nomad) list(prefix string) []deploy.Job {
	var out []deploy.Job
	for id, j := range n.jobs {
		if !strings.HasPrefix(id, prefix) {
			continue
		}
		d := deploy.Job{ID: id, Index: j.index, Count: j.count}
		live := 0
		for _, a := range n.allocs {
			switch {
			case a.Job != id:
			case a.Ended():
				d.Ended++
			case a.State == deploy.AllocRunning:
				d.Running++
				live++
			default:
				live++
			}
		}
		if j.batch {
			live += d.Ended
		}
		d.Queued = max(j.count-live, 0)
		out = append(out, d)
	}
	return out
}

// Register implements deploy.Nomad.
func (n *Nomad) Register(ctx context.Context, spec *api.Job, index uint64) (uint64, error) {
	if err := n.fails("register", *spec.ID); err != nil {
		return 0, err
	}
	return n.set(spec, index)
}

func (n *Nomad) set(spec *api.Job, index uint64) (uint64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	have := uint64(0)
	if j := n.jobs[*spec.ID]; j != nil {
		have = j.index
	}
	if have != index {
		return 0, fmt.Errorf("%s: index is %d, not %d: %w", *spec.ID, have, index, deploy.ErrChanged)
	}
	n.touch()
	n.jobs[*spec.ID] = &job{spec, n.index, jobs.Count(spec), *spec.Type == "batch"}
	n.place(*spec.ID)
	return n.index, nil
}

// Scale implements deploy.Nomad.
func (n *Nomad) Scale(_ context.Context, id string, count int, index uint64) (uint64, error) {
	if err := n.fails("scale", id); err != nil {
		return 0, err
	}
	n.mu.Lock()
	j := n.jobs[id]
	n.mu.Unlock()
	if j == nil {
		return 0, fmt.Errorf("%s: %w", id, deploy.ErrChanged)
	}
	jobs.Scale(j.spec, count)
	return n.set(j.spec, index)
}

// Remove implements deploy.Nomad.
func (n *Nomad) Remove(_ context.Context, id string) error {
	if err := n.fails("remove", id); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.jobs[id] == nil {
		return nil
	}
	n.touch()
	n.jobs[id].count = 0
	n.place(id)
	delete(n.jobs, id)
	return nil
}

// place makes and stops allocations until there are as many as the job wants,
// the highest index first.
func (n *Nomad) place(id string) {
	j := n.jobs[id]
	used := map[int]bool{}
	for _, a := range n.allocs {
		switch {
		case a.Job != id || a.Stopping || a.Ended() && !j.batch:
		case a.Index >= j.count:
			a.Stopping, a.State = true, deploy.AllocComplete
		default:
			used[a.Index] = true
		}
	}
	for i := range j.count {
		if used[i] || n.Room >= 0 && n.live() >= n.Room {
			continue
		}
		node := "node"
		if len(n.Nodes) > 0 {
			node = n.Nodes[len(n.allocs)%len(n.Nodes)]
		}
		a := &deploy.Alloc{ID: uuid.NewString(), Job: id, Node: node, Index: i, State: deploy.AllocPending}
		n.allocs[a.ID] = a
	}
}

func (n *Nomad) live() int {
	live := 0
	for _, a := range n.allocs {
		if !a.Ended() {
			live++
		}
	}
	return live
}

// Allocations implements deploy.Nomad.
func (n *Nomad) Allocations(_ context.Context, id string) ([]deploy.Alloc, error) {
	if err := n.fails("allocations", id); err != nil {
		return nil, err
	}
	return n.All(id), nil
}

// All lists the allocations of a job by index; of every job with id "".
func (n *Nomad) All(id string) []deploy.Alloc {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []deploy.Alloc
	for _, a := range n.allocs {
		if a.Job == id || id == "" {
			out = append(out, *a)
		}
	}
	slices.SortFunc(out, func(a, b deploy.Alloc) int {
		if a.Index != b.Index {
			return a.Index - b.Index
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Allocation implements deploy.Nomad.
func (n *Nomad) Allocation(_ context.Context, id string) (deploy.Alloc, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a := n.allocs[id]; a != nil {
		return *a, nil
	}
	return deploy.Alloc{}, deploy.ErrNoAllocation
}

// Unplaced implements deploy.Nomad.
func (n *Nomad) Unplaced(_ context.Context, id string) (*deploy.Unplaced, error) {
	if err := n.fails("unplaced", id); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, j := range n.list(id) {
		if j.ID == id && j.Queued > 0 {
			return n.Why, nil
		}
	}
	return nil, nil
}

// Collect implements deploy.Nomad.
func (n *Nomad) Collect(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.collected++
	return nil
}

// Change changes an allocation as a node's client would. A failed or lost one
// of an app's job gets a successor with the same index.
func (n *Nomad) Change(id string, change func(*deploy.Alloc)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.allocs[id]
	if a == nil {
		return
	}
	change(a)
	if j := n.jobs[a.Job]; j != nil && !j.batch {
		n.place(a.Job)
	}
	n.touch()
}

// SetRoom changes how many containers there is room for; those that wait are
// placed.
func (n *Nomad) SetRoom(room int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.Room = room
	for id := range n.jobs {
		n.place(id)
	}
	n.touch()
}

// Lose forgets a job as if the cluster had lost it.
func (n *Nomad) Lose(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if j := n.jobs[id]; j != nil {
		n.touch()
		j.count = 0
		n.place(id)
		delete(n.jobs, id)
	}
}

// Counts returns how many instances each job asks for.
func (n *Nomad) Counts() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[string]int{}
	for id, j := range n.jobs {
		out[id] = j.count
	}
	return out
}

// Spec returns the job as it was registered, or nil.
func (n *Nomad) Spec(id string) *api.Job {
	n.mu.Lock()
	defer n.mu.Unlock()
	if j := n.jobs[id]; j != nil {
		return j.spec
	}
	return nil
}
