package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/consul/api"
)

// Config of a Registrar.
type Config struct {
	Address string // of the local Consul agent's API; default 127.0.0.1:8500
	// Token returns the secret of the node's Consul token; it is asked for
	// each call, may block only briefly, and may change.
	Token func() string
	// Interval is between two looks at what is registered, and the longest
	// pause after a failure. Default 5 s.
	Interval time.Duration
	Logger   *slog.Logger // default slog.Default()
}

// firstPause is how long a Registrar waits after a first failure; it grows
// from there, with jitter, up to the interval.
const firstPause = 200 * time.Millisecond

// Registrar keeps the entries of one node. Methods may be called concurrently.
type Registrar struct {
	client   *client
	check    checker
	token    func() string
	interval time.Duration
	log      *slog.Logger

	wake chan struct{} // holds one value when Run has something to do
	pass sync.Mutex    // held while the Consul agent is being changed

	mu      sync.Mutex
	told    bool // Set or Clear was called
	want    map[string]Service
	refused error         // what of the last Set cannot be
	version uint64        // of want and refused
	done    uint64        // version that is in place, 0 if none is
	err     error         // of the last pass
	changed chan struct{} // closed and replaced when Synced may have changed
	// usedToken is what the entries were registered with. The Consul agent
	// keeps it with them, so they are registered again when it changes.
	usedToken string
	tokenSet  bool
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Registrar, error) {
	r := &Registrar{
		check: newChecker(), token: cfg.Token, interval: cmp.Or(cfg.Interval, 5*time.Second),
		log: cmp.Or(cfg.Logger, slog.Default()), wake: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	if r.token == nil {
		r.token = func() string { return "" }
	}
	if r.interval < 0 {
		return nil, errors.New("catalog: the interval is negative")
	}
	c, err := newClient(cmp.Or(cfg.Address, "127.0.0.1:8500"), r.token)
	if err != nil {
		return nil, err
	}
	r.client = c
	return r, nil
}

// Set says what should be registered; everything else of ours goes. Run does
// it soon. The list is copied. Services that cannot be are left out, and Err
// and Wait tell of them.
func (r *Registrar) Set(list []Service) {
	want, err := byID(list)
	if err != nil {
		err = fmt.Errorf("catalog: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told && r.refused == nil && err == nil && sameServices(r.want, want) {
		return
	}
	r.setLocked(want, err)
}

func (r *Registrar) setLocked(want map[string]Service, refused error) {
	r.told, r.want, r.refused = true, want, refused
	r.version++
	r.broadcastLocked()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Registrar) broadcastLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func sameServices(a, b map[string]Service) bool {
	if len(a) != len(b) {
		return false
	}
	for id, s := range a {
		t, ok := b[id]
		if !ok || s.registration().Meta[metaSpec] != t.registration().Meta[metaSpec] {
			return false
		}
	}
	return true
}

// Run keeps the local Consul agent in line until ctx ends, then returns nil
// and leaves the entries where they are: a restarted agent finds them again.
// Before the first Set it changes nothing. It may be called once.
func (r *Registrar) Run(ctx context.Context) error {
	defer r.client.close()
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = min(firstPause, r.interval), r.interval
	failing := ""
	for {
		pause := r.interval
		ill, err := r.sync(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			if failing != "" {
				r.log.Info("the services are in Consul's catalog again")
			}
			failing = ""
			if ill { // asked again sooner than Consul does
				pause = pauses.NextBackOff()
			} else {
				pauses.Reset()
			}
		default:
			if failing != err.Error() { // once, not every few seconds
				failing = err.Error()
				r.log.Warn("the services are not in Consul's catalog, trying again", "err", err)
			}
			pause = pauses.NextBackOff()
		}
		timer := time.NewTimer(pause)
		select {
		case <-r.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// Clear takes all our entries out of the local Consul agent, also those of an
// earlier process, and keeps them out until the next Set. It does not need Run.
// On an error some may still be there, and a running Run goes on trying.
func (r *Registrar) Clear(ctx context.Context) error {
	r.mu.Lock()
	r.setLocked(nil, nil)
	r.mu.Unlock()
	_, err := r.sync(ctx)
	return err
}

// Synced reports whether what was last set is registered, as far as the last
// look (at most Interval ago) tells.
func (r *Registrar) Synced() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.syncedLocked()
}

func (r *Registrar) syncedLocked() bool { return r.told && r.done == r.version }

// Err returns why the last look at Consul failed, nil if it did not.
func (r *Registrar) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Wait blocks until Synced. When ctx ends first the error says what stands in
// the way.
func (r *Registrar) Wait(ctx context.Context) error {
	for {
		r.mu.Lock()
		synced, changed, last := r.syncedLocked(), r.changed, r.err
		r.mu.Unlock()
		if synced {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the services are not in Consul's catalog: %w", errors.Join(ctx.Err(), last))
		}
	}
}

// sync makes one pass and records its outcome; ill tells that a role was
// critical.
func (r *Registrar) sync(ctx context.Context) (ill bool, err error) {
	r.pass.Lock()
	defer r.pass.Unlock()
	r.mu.Lock()
	told, want, refused, version := r.told, r.want, r.refused, r.version
	r.mu.Unlock()
	if !told {
		return false, nil
	}
	ill, err = r.reconcile(ctx, want)
	err = errors.Join(refused, err)

	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.done = err, version
	if err != nil {
		r.done = 0
	}
	r.broadcastLocked()
	return ill, err
}

// reconcile registers what is missing or different, tells Consul of roles that
// are well again and takes out what is not wanted. It goes on after a failure
// and returns all of them; ill tells that a role was critical.
func (r *Registrar) reconcile(ctx context.Context, want map[string]Service) (ill bool, err error) {
	have, err := r.client.list(ctx)
	if err != nil {
		return false, err
	}
	token := r.token()
	renew := !r.tokenSet || token != r.usedToken
	var errs []error
	for _, id := range sortedIDs(have) {
		if _, ok := want[id]; ok {
			continue
		}
		if err := r.client.deregister(ctx, id); err != nil {
			errs = append(errs, err)
		} else {
			r.log.Info("took a service out of Consul's catalog", "id", id)
		}
	}
	for _, id := range sortedIDs(want) {
		reg, old := want[id].registration(), have[id]
		same := old.status != "" && old.digest == reg.Meta[metaSpec] && !renew
		// A role does not fall ill because its tags change.
		reg.Check.Status = old.status
		if old.status == "" || old.status == api.HealthCritical {
			reg.Check.Status, err = r.check.status(ctx, reg.Check.HTTP)
			ill = ill || reg.Check.Status == api.HealthCritical
			r.log.Debug("asked a role", "id", id, "status", reg.Check.Status, "err", err)
		}
		if same && reg.Check.Status == old.status {
			continue
		}
		if old.status == api.HealthCritical && reg.Check.Status != old.status {
			// A check that is registered again keeps what it had found.
			if err := r.client.deregister(ctx, id); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		if err := r.client.register(ctx, reg); err != nil {
			errs = append(errs, err)
		} else {
			r.log.Info("registered a service in Consul's catalog", "id", id, "status", reg.Check.Status)
		}
	}
	if len(errs) == 0 {
		r.usedToken, r.tokenSet = token, true // pass is held
	}
	return ill, errors.Join(errs...)
}
