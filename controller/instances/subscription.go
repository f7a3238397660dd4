package instances

import "sync"

// Subscription collects the apps whose instances have changed. Use it from
// one goroutine; Close it when done.
type Subscription struct {
	t *Table

	mu   sync.Mutex
	apps map[string]struct{}
	wake chan struct{}
}

// Subscribe begins to collect changes.
func (t *Table) Subscribe() *Subscription {
	s := &Subscription{t: t, apps: map[string]struct{}{}, wake: make(chan struct{}, 1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subs[s] = struct{}{}
	return s
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	delete(s.t.subs, s)
}

// Wake gets a token when something has changed.
func (s *Subscription) Wake() <-chan struct{} { return s.wake }

// Take returns the GUIDs of apps with changes since the last Take.
func (s *Subscription) Take() map[string]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.apps
	s.apps = map[string]struct{}{}
	return out
}

func (s *Subscription) add(apps map[string]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range apps {
		s.apps[a] = struct{}{}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
