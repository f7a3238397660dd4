package member

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/time/rate"
)

// ErrNotRunning is returned by calls that need the network before
// [Gossip.Run] listens (where they cannot wait for it) and after it ended.
var ErrNotRunning = errors.New("gossip is not running")

// Gossip is one member. All methods are safe for concurrent use; those that
// only read work at any time.
type Gossip struct {
	cfg    Config
	timing timing
	log    *slog.Logger
	ml     *memberlist.Config
	ring   *ring
	table  *table
	stats  counters

	metaMu  sync.Mutex
	started time.Time
	leaving bool
	encoded []byte // what this member says of itself, at most MaxMetaSize

	ran   atomic.Bool
	ready chan struct{} // closed when Run listens
	left  chan struct{} // closed when Leave has said goodbye
	done  chan struct{} // closed when Run has ended

	conflictLog, aloneLog rate.Sometimes // they limit log lines

	leaveMu sync.Mutex // held while memberlist leaves, and while it is shut down

	mu     sync.Mutex // guards the rest
	list   *memberlist.Memberlist
	link   link
	closed bool
	calls  sync.WaitGroup // calls into memberlist that may outlive their caller
}

// New checks the configuration and returns a member that does nothing yet.
func New(cfg Config) (*Gossip, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ring, err := newRing(cfg.Keys)
	if err != nil {
		return nil, err
	}
	cfg.Keys = nil // the ring has its own copy
	ml, timing, err := cfg.Profile.settings()
	if err != nil {
		return nil, err
	}
	g := &Gossip{
		cfg: cfg, timing: timing, ml: ml, ring: ring,
		log:         cfg.Logger.With("component", "gossip"),
		table:       newTable(cfg.ID, cfg.Retain, longestSuspicion(ml)),
		started:     time.Now().Truncate(time.Millisecond).UTC(),
		ready:       make(chan struct{}),
		left:        make(chan struct{}),
		done:        make(chan struct{}),
		conflictLog: rate.Sometimes{Interval: 30 * time.Second},
		aloneLog:    rate.Sometimes{Interval: time.Minute},
	}
	h := hooks{g}
	ml.Name = string(cfg.ID)
	ml.Keyring = ring.kr
	ml.Delegate, ml.Events, ml.Conflict, ml.Merge, ml.Ping, ml.Alive = h, h, h, h, h, h
	ml.DisableTcpPingsForNode = h.probeUnanswered
	ml.DeadNodeReclaimTime = timing.reclaim
	ml.Logger = log.New(newLogWriter(g.log), "", 0)
	if err := g.encodeMeta(); err != nil {
		return nil, err
	}
	return g, nil
}

// Run listens and gossips until ctx ends, which looks like a crash to the
// others, or [Gossip.Leave] has said goodbye. Then it closes its sockets, waits
// for what it started and returns nil. It returns an error when it cannot
// listen. It can be called once.
func (g *Gossip) Run(ctx context.Context) error {
	if !g.ran.CompareAndSwap(false, true) {
		return errors.New("gossip: Run was called before: make a new member with New")
	}
	defer close(g.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := g.listen(); err != nil {
		return err
	}
	var rejoin sync.WaitGroup
	rejoin.Go(func() { g.rejoin(ctx) })
	g.log.Info("gossip is up", "addr", g.Addr(), "profile", g.cfg.Profile)
	close(g.ready)
	select {
	case <-ctx.Done():
	case <-g.left:
	}
	cancel()
	err := g.shutdown()
	rejoin.Wait()
	g.calls.Wait()
	return err
}

func (g *Gossip) listen() error {
	link, err := g.openLink()
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.link = link
	g.mu.Unlock()
	g.ml.Transport = link
	list, err := memberlist.Create(g.ml)
	if err != nil {
		_ = link.Shutdown()
		return fmt.Errorf("gossip: start: %w", err)
	}
	g.mu.Lock()
	g.list = list
	g.mu.Unlock()
	return nil
}

func (g *Gossip) openLink() (link, error) {
	if g.cfg.Endpoint != nil {
		return g.cfg.Endpoint.open()
	}
	g.ml.BindAddr, g.ml.AdvertiseAddr = g.cfg.BindAddr, g.cfg.AdvertiseAddr
	l, err := openNet(g.cfg.BindAddr, g.cfg.Port, g.timing.dial, g.ml.Logger)
	if err != nil {
		return nil, err
	}
	g.ml.BindPort = l.GetAutoBindPort()
	g.ml.AdvertisePort = g.ml.BindPort
	return l, nil
}

func (g *Gossip) shutdown() error {
	g.leaveMu.Lock() // memberlist panics when it leaves after its shutdown
	defer g.leaveMu.Unlock()
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	if err := g.list.Shutdown(); err != nil {
		return fmt.Errorf("gossip: shut down: %w", err)
	}
	return nil
}

// begin registers a call into memberlist that may outlive its caller; end it
// with g.calls.Done. It fails when Run does not listen or is ending.
func (g *Gossip) begin() (*memberlist.Memberlist, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.list == nil || g.closed {
		return nil, ErrNotRunning
	}
	g.calls.Add(1)
	return g.list, nil
}

func (g *Gossip) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// await waits until Run listens.
func (g *Gossip) await(ctx context.Context) error {
	select {
	case <-g.ready:
		return nil
	case <-g.done:
		return ErrNotRunning
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Ready is closed once [Gossip.Run] listens.
func (g *Gossip) Ready() <-chan struct{} { return g.ready }

// Addr returns the address that others are told to reach this member at. It
// is the zero value before [Gossip.Ready].
func (g *Gossip) Addr() netip.AddrPort {
	m, _ := g.table.get(g.cfg.ID)
	return m.Addr
}

// Join contacts members at addrs ("ip:port") one after the other and exchanges
// views with each. It waits for Run to listen. n is how many answered; the
// error says why the others did not, and is nil only when all did. One answer
// is enough to be in. Each address takes at most some seconds; ctx bounds the
// whole.
func (g *Gossip) Join(ctx context.Context, addrs []string) (n int, err error) {
	if err := g.await(ctx); err != nil {
		return 0, err
	}
	var errs []error
	for _, addr := range addrs {
		if err := g.joinOne(ctx, addr); err != nil {
			errs = append(errs, fmt.Errorf("gossip: join %.60s: %w", addr, err))
			if ctx.Err() != nil || errors.Is(err, ErrNotRunning) {
				break
			}
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}

func (g *Gossip) joinOne(ctx context.Context, addr string) error {
	// Only addresses: a name would be resolved without a deadline.
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return errors.New("this is not an address of the form ip:port")
	}
	list, err := g.begin()
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() { // ends at the latest with memberlist's timeout; Run waits for it
		defer g.calls.Done()
		_, err := list.Join([]string{addr})
		result <- err
	}()
	select {
	case err := <-result:
		return joinError(err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// joinError takes the one error out of memberlist's list of errors and says
// what to do about the usual cause.
func joinError(err error) error {
	var multi interface{ WrappedErrors() []error }
	if errors.As(err, &multi) && len(multi.WrappedErrors()) == 1 {
		err = multi.WrappedErrors()[0]
	}
	if err != nil && strings.Contains(err.Error(), "no installed keys could decrypt") {
		return fmt.Errorf("%w: the gossip keys differ; join the cluster again to get its key", err)
	}
	return err
}

// UpdateMeta asks Config.Meta again and lets the answer spread. It returns at
// once; every member knows after about a second on a LAN. The error says that
// the metadata cannot be encoded; the old one then stays.
func (g *Gossip) UpdateMeta() error {
	if err := g.encodeMeta(); err != nil {
		return err
	}
	list, err := g.begin()
	if err != nil {
		return nil // Run will say it from the start
	}
	defer g.calls.Done()
	// The update is queued before memberlist starts to wait, and its only
	// error is that the wait was cut short.
	_ = list.UpdateNode(time.Nanosecond)
	return nil
}

func (g *Gossip) encodeMeta() error {
	g.metaMu.Lock()
	defer g.metaMu.Unlock()
	m := g.cfg.Meta()
	m.ClusterID, m.ID, m.Name = g.cfg.ClusterID, g.cfg.ID, g.cfg.Name
	m.Started, m.Leaving = g.started, g.leaving
	b, err := m.MarshalBinary()
	if err != nil {
		return err
	}
	g.encoded = b
	return nil
}

// Leave tells the others that this member goes on purpose and then ends
// [Gossip.Run]. It waits at most timeout for the goodbye to spread; when that
// is not enough the error says so, Run ends all the same, and the others will
// see a failure.
func (g *Gossip) Leave(ctx context.Context, timeout time.Duration) error {
	list, err := g.begin()
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() { // ends after timeout at the latest; Run waits for it
		defer g.calls.Done()
		result <- g.goodbye(list, timeout)
	}()
	select {
	case err = <-result:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-g.done:
		err = ErrNotRunning
	}
	if err != nil {
		return fmt.Errorf("gossip: leave: %w", err)
	}
	return nil
}
