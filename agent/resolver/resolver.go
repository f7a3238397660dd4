package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// Address is where containers ask. The jobs of apps name it (jobs.Resolver).
var Address = netip.AddrFrom4([4]byte{169, 254, 53, 53})

// Config is what a Resolver needs. Zero values stand for their defaults.
type Config struct {
	// Address to listen on, port 53; it is put on the loopback interface.
	// Default [Address].
	Address netip.Addr
	// Bridge is the interface of the containers: nobody else is answered.
	// Default "docker0".
	Bridge string
	// Domain is the cluster's: it and all names below it lead to routers.
	Domain string
	// Routers returns the addresses of routers that containers may reach, the
	// best first. Called for each question, concurrently.
	Routers func() []netip.Addr
	// File names the node's own resolvers. Default "/etc/resolv.conf".
	File string
	// Timeout bounds the answer to one question; default 4 s, less than the
	// C library waits.
	Timeout time.Duration
	// Questions that are worked on at once, of all containers and of one.
	// Default 512 and 64. What is more is answered with a failure.
	Questions, QuestionsEach int
	Logger                   *slog.Logger // nil: slog.Default
}

// Resolver answers containers. Use New.
type Resolver struct {
	cfg       Config
	zones     []string // lower case, without dots around
	admitted  admitted
	clients   clients
	upstreams upstreams

	mu    sync.Mutex
	state error
}

var errNotListening = errors.New("the resolver of containers does not listen yet")

// New makes a Resolver and starts nothing.
func New(cfg Config) *Resolver {
	if !cfg.Address.IsValid() {
		cfg.Address = Address
	}
	cfg.Bridge = cmp.Or(cfg.Bridge, "docker0")
	cfg.File = cmp.Or(cfg.File, "/etc/resolv.conf")
	cfg.Timeout = cmp.Or(cfg.Timeout, 4*time.Second)
	cfg.Questions = cmp.Or(cfg.Questions, 512)
	cfg.QuestionsEach = cmp.Or(cfg.QuestionsEach, 64)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Resolver{
		cfg: cfg, zones: zones(cfg.Domain), state: errNotListening,
		admitted:  admitted{all: cfg.Questions, each: cfg.QuestionsEach},
		clients:   clients{bridge: cfg.Bridge},
		upstreams: upstreams{file: cfg.File, own: cfg.Address},
	}
}

// zones are where names lead to routers: below the domain, and, if that is one
// of the machine's own below .localhost, below all of .localhost, as apps of
// a micro cloud may have such domains as well.
func zones(domain string) []string {
	domain = strings.Trim(strings.ToLower(domain), ".")
	switch {
	case domain == "":
		return nil
	case strings.HasSuffix(domain, ".localhost"):
		return []string{domain, "localhost"}
	}
	return []string{domain}
}

const (
	// retryPause is between two attempts to listen, checkInterval between two
	// looks at whether the address is still there.
	retryPause    = 2 * time.Second
	checkInterval = 5 * time.Second
)

// Run answers until ctx ends, and returns nil then. What keeps it from
// listening is logged and tried again: containers then have the second server
// that their jobs name, if the node has one. The address stays when ctx ends:
// see [Resolver.Remove].
func (r *Resolver) Run(ctx context.Context) error {
	for {
		err := r.listen(ctx)
		if ctx.Err() != nil {
			r.set(errNotListening)
			return nil //nolint:nilerr // it was told to end
		}
		if was := r.Ready(); fmt.Sprint(was) != fmt.Sprint(err) {
			r.cfg.Logger.Error("containers cannot ask for names on this node; will go on trying", "address", r.cfg.Address, "err", err)
		}
		r.set(err)
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
}

// Ready is nil while containers are answered, else why not.
func (r *Resolver) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

func (r *Resolver) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = err
}

// listen answers until ctx ends or a listener breaks.
func (r *Resolver) listen(ctx context.Context) error {
	if err := addAddress(ctx, r.cfg.Address); err != nil {
		return err
	}
	address := netip.AddrPortFrom(r.cfg.Address, 53).String()
	packets, err := new(net.ListenConfig).ListenPacket(ctx, "udp4", address)
	if err != nil {
		return fmt.Errorf("%w (does another DNS server listen on all addresses? bind it to its own)", err)
	}
	stream, err := new(net.ListenConfig).Listen(ctx, "tcp4", address)
	if err != nil {
		packets.Close()
		return err
	}
	return r.serve(ctx, packets, stream)
}

// serve answers on both listeners and closes them.
func (r *Resolver) serve(ctx context.Context, packets net.PacketConn, stream net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, req *dns.Msg) { r.answer(ctx, w, req) })
	started := make(chan struct{}, 2)
	for _, s := range []*dns.Server{
		{PacketConn: packets, UDPSize: dns.MaxMsgSize},
		{Listener: &streamLimit{Listener: stream, clients: &r.clients, each: streamsEach, open: map[netip.Addr]int{}}},
	} {
		s.Handler, s.MaxTCPQueries = handler, 64
		s.ReadTimeout, s.WriteTimeout, s.IdleTimeout = 2*time.Second, 2*time.Second, func() time.Duration { return 5 * time.Second }
		s.NotifyStartedFunc = func() { started <- struct{}{} }
		group.Go(func() error {
			if err := s.ActivateAndServe(); err != nil && ctx.Err() == nil {
				return fmt.Errorf("answer containers: %w", err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = s.ShutdownContext(end) // an error says that it does not run
			return nil
		})
	}
	group.Go(func() error { return r.watch(ctx, started) })
	return group.Wait()
}

// watch puts the address back when something takes it away.
func (r *Resolver) watch(ctx context.Context, started <-chan struct{}) error {
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-started:
			if n++; n == 2 {
				r.set(nil)
				r.cfg.Logger.Info("containers may ask for names", "address", r.cfg.Address, "domain", r.cfg.Domain)
			}
		case <-time.After(checkInterval):
			if err := addAddress(ctx, r.cfg.Address); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// Remove takes the address away: the node lost its role and runs no containers
// any more. Removing twice does no harm.
func (r *Resolver) Remove(ctx context.Context) error {
	if !hasAddress(r.cfg.Address) {
		return nil
	}
	return ip(ctx, "address", "del", r.cfg.Address.String()+"/32", "dev", "lo")
}
