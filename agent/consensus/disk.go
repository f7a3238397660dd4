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
	onError func(error) // called on each change between ok and not ok

	closing chan struct{}
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
	changed := (err == nil) != (g.err == nil)
	g.err = err
	g.mu.Unlock()
	if changed {
		g.onError(err)
	}
}

// release lets a held goroutine end; call it once, before Raft is shut down.
func (g *diskGuard) release() { close(g.closing) }

// persist repeats write until it succeeds. When the node closes first, the
// goroutine ends: returning an error would make Raft panic.
func (g *diskGuard) persist(write func() error) {
	for {
		err := write()
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
type guardedLog struct {
	raft.LogStore
	guard *diskGuard
}

// StoreLog implements raft.LogStore.
func (s *guardedLog) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s *guardedLog) StoreLogs(logs []*raft.Log) error {
	err := s.LogStore.StoreLogs(logs)
	s.guard.note(err)
	return err
}
