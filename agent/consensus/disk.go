package consensus

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// diskGuard sits between Raft and its stores. hashicorp/raft panics when it
// cannot save its term; a full or read-only disk must not kill the node.
// Instead the guard notes the error for status and health, and holds Raft's
// main loop until the disk takes writes again: a node that is held neither
// leads nor votes, so it gives up leadership and loses nothing acknowledged.
type diskGuard struct {
	mu      sync.Mutex
	err     error
	held    int         // goroutines inside persist whose write has failed
	onError func(error) // called on each change between ok and not ok

	closing chan struct{}
	once    sync.Once
}

func newDiskGuard(onError func(error)) *diskGuard {
	return &diskGuard{onError: onError, closing: make(chan struct{})}
}

// Err returns the last write's error, nil when the disk works.
func (g *diskGuard) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

func (g *diskGuard) note(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	changed := (err == nil) != (g.err == nil)
	g.err = err
	if changed {
		g.onError(err)
	}
}

// holding reports whether some of Raft's goroutines are held.
func (g *diskGuard) holding() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held > 0
}

func (g *diskGuard) hold(by int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held += by
}

// release lets held goroutines end; call it before Raft is shut down.
func (g *diskGuard) release() { g.once.Do(func() { close(g.closing) }) }

// persist repeats write until it succeeds. When the node closes first, the
// goroutine ends: returning an error would make Raft panic.
func (g *diskGuard) persist(write func() error) {
	for held := false; ; held = true {
		err := write()
		if err != nil && !held {
			g.hold(1)
			defer g.hold(-1) // runs once, when the hold ends
		}
		g.note(err)
		if err == nil {
			return
		}
		wait := 200*time.Millisecond + rand.N(200*time.Millisecond)
		select {
		case <-time.After(wait):
		case <-g.closing:
			runtime.Goexit()
		}
	}
}

// guardedStable is a raft.StableStore whose writes do not fail.
type guardedStable struct {
	raft.StableStore
	guard *diskGuard
}

// Set implements raft.StableStore.
func (s *guardedStable) Set(key, val []byte) error {
	s.guard.persist(func() error { return s.StableStore.Set(key, val) })
	return nil
}

// SetUint64 implements raft.StableStore.
func (s *guardedStable) SetUint64(key []byte, val uint64) error {
	s.guard.persist(func() error { return s.StableStore.SetUint64(key, val) })
	return nil
}

// guardedLog is a raft.LogStore that tells the guard of failed writes. They
// are returned: a leader steps down on them, a follower refuses the entries.
//
// A failed write may have reached the disk in part (an fsync that fails says
// nothing about the data). Raft takes the entries for absent and writes other
// ones in their place; what lies behind those must not come back at the next
// start, so it is deleted first.
type guardedLog struct {
	raft.LogStore
	guard *diskGuard
	dirty bool // the last write failed; Raft stores from one goroutine at a time
}

// StoreLog implements raft.LogStore.
func (s *guardedLog) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s *guardedLog) StoreLogs(logs []*raft.Log) error {
	err := s.clean(logs[0].Index)
	if err == nil {
		err = s.LogStore.StoreLogs(logs)
		s.dirty = err != nil
	}
	s.guard.note(err)
	return err
}

// clean deletes what a failed write may have left at next and behind it.
func (s *guardedLog) clean(next uint64) error {
	if !s.dirty {
		return nil
	}
	last, err := s.LastIndex()
	if err != nil || last < next {
		return err
	}
	return s.DeleteRange(next, last)
}
