package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stackato/stackato/test/cluster"
)

// towards is how long the client of two routers waits for the first one.
const towards = 4 * time.Second

// pair is a client that knows two routers, as one with both in its DNS, or a
// load balancer: what the first one does not answer it asks of the other, and
// the next time it begins with that.
type pair struct {
	url     string
	routers [2]*cluster.Node
	clients [2]*http.Client
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu         sync.Mutex
	answered   [2]int
	missed     [2]int
	unanswered []string
}

// startPair asks again and again until it is stopped; the first router is one
// that will be hurt.
func (c *cloud) startPair(url string, first *cluster.Node) (*pair, error) {
	p := &pair{url: url, routers: [2]*cluster.Node{first, c.without(first)[0]}}
	for i, n := range p.routers {
		client, err := c.client(false)
		if err != nil {
			return nil, err
		}
		client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, net.JoinHostPort(n.Address, port))
		}
		p.clients[i] = client
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.done.Go(func() {
		for turn := 0; ctx.Err() == nil; turn++ {
			p.ask(context.WithoutCancel(ctx), turn%2)
			select {
			case <-ctx.Done():
			case <-time.After(loadPause):
			}
		}
		for _, client := range p.clients {
			client.CloseIdleConnections()
		}
	})
	return p, nil
}

// ask makes one request, beginning with one of the routers.
func (p *pair) ask(ctx context.Context, first int) {
	var errs []error
	for _, i := range []int{first, 1 - first} {
		bound := towards
		if i != first {
			bound = 30 * time.Second
		}
		ctx, cancel := context.WithTimeout(ctx, bound)
		a, err := request(ctx, p.clients[i], p.url)
		cancel()
		if err == nil {
			err = a.like(http.StatusOK, nil)
		}
		p.mu.Lock()
		if err == nil {
			p.answered[i]++
		} else {
			p.missed[i]++
		}
		p.mu.Unlock()
		if err == nil {
			return
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.routers[i].Name, err))
		p.clients[i].CloseIdleConnections()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unanswered = append(p.unanswered, fmt.Sprint(errs))
}

// counts are how often each router has answered and has not.
func (p *pair) counts() (answered, missed [2]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answered, p.missed
}

// lostUnderWay cuts the network of a node that works on a request: who waits
// for it is told, long before TCP would give up. (A node that is killed says
// goodbye: its kernel is this machine's.)
func lostUnderWay(t *testing.T, c *cloud) {
	u := c.newUser(t)
	ctx := bounded(t, 4*time.Minute)
	app := u.push("vanishes", 3)
	u.await("all instances to run", func() error { return u.running(app, 3) })
	primary, err := c.Primary(ctx)
	must(t, err)
	victim := c.without(primary)[0]
	all, err := u.stats(app)
	must(t, err)
	i := slices.IndexFunc(all, func(s stat) bool { return s.Host == victim.Address })
	if i < 0 {
		t.Fatalf("no instance on %s: %v", victim.Name, all)
	}
	c.avoid.Store(victim)
	defer c.avoid.Store(nil)
	only := fmt.Sprintf("X-Cf-App-Instance: %s:%d", app, all[i].Index)
	type outcome struct {
		answer
		err error
	}
	told := make(chan outcome, 1)
	go func() {
		a, err := c.get(ctx, appURL("vanishes")+"wait", false, only)
		told <- outcome{a, err}
	}()
	u.await("the instance to work", func() error {
		a, err := c.get(ctx, appURL("vanishes")+"waiting", false, only)
		if err == nil {
			err = a.like(http.StatusOK, regexp.MustCompile(`\n1$`))
		}
		return err
	})
	must(t, c.Isolate(ctx, victim))
	began := time.Now()
	got := <-told // the client has patience for 30 s
	t.Logf("who waited for an instance of a machine without network was told after %s", time.Since(began).Round(100*time.Millisecond))
	must(t, got.err)
	must(t, got.like(http.StatusBadGateway, regexp.MustCompile(`(?i)X-Cf-Routererror: endpoint_failure`)))
	must(t, c.Heal(ctx))
	must(t, c.WaitHealthy(ctx))
	u.run("delete", "vanishes", "-r", "-f")
}

// cmdRouters is routers start URL NODE, routers back, routers stop: a client of
// two routers, of which NODE's is one.
func (c *cloud) cmdRouters(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	switch {
	case !neg && len(args) == 3 && args[0] == "start":
		n := c.ByName(args[2])
		if n == nil {
			ts.Fatalf("there is no node %q", args[2])
		}
		p, err := c.startPair(args[1], n)
		ts.Check(err)
		s.pair = p
		ts.Defer(func() {
			p.cancel()
			p.done.Wait()
		})
		c.awaitPair(ts, p, "both routers to answer", 0, 1)
	case !neg && len(args) == 1 && args[0] == "back" && s.pair != nil:
		c.awaitPair(ts, s.pair, "the router that was away to answer again", 0)
	case !neg && len(args) == 1 && args[0] == "stop" && s.pair != nil:
		s.pair.cancel()
		s.pair.done.Wait()
		answered, missed := s.pair.counts()
		ts.Logf("%s answered %d times and %d times not, %s %d and %d", s.pair.routers[0].Name, answered[0], missed[0],
			s.pair.routers[1].Name, answered[1], missed[1])
		if missed[0] == 0 {
			ts.Fatalf("%s was never away", s.pair.routers[0].Name)
		}
		if len(s.pair.unanswered) > 0 {
			ts.Fatalf("%d requests were answered by neither router: %s", len(s.pair.unanswered), s.pair.unanswered)
		}
	default:
		ts.Fatalf("usage: routers start URL NODE, routers back, routers stop")
	}
}

// awaitPair waits until routers have answered once more than now.
func (c *cloud) awaitPair(ts *testscript.TestScript, p *pair, what string, which ...int) {
	before, _ := p.counts()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(c.WaitFor(ctx, what, func() error {
		now, missed := p.counts()
		for _, i := range which {
			if now[i] <= before[i] {
				return fmt.Errorf("%s has answered %d times, %d times not", p.routers[i].Name, now[i], missed[i])
			}
		}
		return nil
	}))
}
