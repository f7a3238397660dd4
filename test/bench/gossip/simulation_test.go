package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/stackato/stackato/agent/member"
	"github.com/stackato/stackato/agent/node"
)

const (
	limit       = 10 * time.Minute // of one wait
	look        = 10 * time.Millisecond
	calmSeconds = 3   // of rest in a row before something is measured
	atRest      = 2.5 // packets per member and second: one probe and one answer are 2
)

// simulation is a cluster of members in this process.
type simulation struct {
	t       testing.TB
	net     *member.Network
	cluster string
	members []*running
	ended   sync.WaitGroup
}

type running struct {
	*member.Gossip
	id    node.ID
	crash context.CancelFunc
}

func newSimulation(t testing.TB) *simulation {
	s := &simulation{t: t, net: member.NewNetwork(), cluster: uuid.NewString()}
	t.Cleanup(s.stop)
	return s
}

func (s *simulation) stop() {
	for _, m := range s.members {
		m.crash()
	}
	s.members = nil
	s.ended.Wait()
}

var benchKey = []byte("a key of the benchmark, 32 bytes")

// start runs one more member that knows nobody.
func (s *simulation) start() *running {
	s.t.Helper()
	id := node.NewID()
	place := s.net.NewEndpoint()
	g, err := member.New(member.Config{
		ID: id, Name: fmt.Sprintf("node-%d", len(s.members)+1), ClusterID: s.cluster,
		Keys: [][]byte{benchKey}, Profile: member.LAN, Endpoint: place,
		Meta: func() member.Meta {
			return member.Meta{
				Roles: node.NewRoleSet(node.Base, node.DEA), Generation: 3, Version: "1.0.0",
				Zone: "zone-a", Address: place.Addr().Addr(), RPCPort: 7401,
			}
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &running{Gossip: g, id: id, crash: cancel}
	s.ended.Go(func() {
		if err := g.Run(ctx); err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
	<-g.Ready()
	return m
}

// enter lets m join one random member.
func (s *simulation) enter(m *running, at netip.AddrPort) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := m.Join(ctx, []string{at.String()}); err != nil {
		s.t.Errorf("join: %v", err)
	}
}

// form starts members one after the other, each joins a random one. It returns
// when all had joined, when 99 % of the pairs knew each other, and when all did.
func (s *simulation) form(members int) (joined, most, all time.Duration) {
	start := time.Now()
	for range members {
		m := s.start()
		if len(s.members) > 0 {
			s.enter(m, s.random().Addr())
		}
		s.members = append(s.members, m)
	}
	joined = time.Since(start)
	s.say("%d members have joined after %s", members, joined)
	shown := time.Now()
	s.until("all see all", func() bool {
		known := 0
		for _, m := range s.members {
			known += m.NumAlive()
		}
		if time.Since(shown) > 10*time.Second {
			shown = time.Now()
			s.say("%.2f %% of the pairs know each other after %s", 100*float64(known)/float64(members*members), time.Since(start))
		}
		if most == 0 && float64(known) >= 0.99*float64(members*members) {
			most = time.Since(start)
		}
		return known == members*members
	})
	return joined, most, time.Since(start)
}

// say shows progress at once: a run takes minutes, and one that is cut short
// should leave what it found.
func (s *simulation) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "# "+format+"\n", args...)
}

func (s *simulation) random() *running { return s.members[rand.IntN(len(s.members))] }

func (s *simulation) converged() bool {
	return !slices.ContainsFunc(s.members, func(m *running) bool { return m.NumAlive() != len(s.members) })
}

// until looks again and again until cond holds.
func (s *simulation) until(what string, cond func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(limit)
	for !cond() {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(look)
	}
}

// settle waits until all views are right and nothing but probes is sent, so
// that no news is on its way. A machine too slow for it is told, not failed.
func (s *simulation) settle() {
	deadline := time.Now().Add(limit)
	for calm := 0; calm < calmSeconds; {
		before := s.traffic().PacketsSent
		<-time.After(time.Second)
		calm++
		if perMember := float64(s.traffic().PacketsSent-before) / float64(len(s.members)); perMember > atRest || !s.converged() {
			calm = 0
		}
		if time.Now().After(deadline) {
			s.say("the members did not come to rest within %s: the machine is too slow or too busy", limit)
			return
		}
	}
}

// join adds a member and waits until everybody sees it and it everybody.
func (s *simulation) join() (*running, time.Duration) {
	m := s.start()
	at := s.random().Addr()
	start := time.Now()
	s.enter(m, at)
	s.members = append(s.members, m)
	s.until("all see the new one", func() bool {
		return m.NumAlive() == len(s.members) && s.count(m.id, member.Alive, member.Suspect) == len(s.members)
	})
	took := time.Since(start)
	s.say("a join is known to all after %s", took)
	return m, took
}

// fail crashes a member and waits until everybody sees it dead.
func (s *simulation) fail(m *running) (first, all time.Duration) {
	s.members = slices.DeleteFunc(s.members, func(o *running) bool { return o == m })
	start := time.Now()
	m.crash()
	s.until("all see the failure", func() bool {
		n := s.count(m.id, member.Dead)
		if n > 0 && first == 0 {
			first = time.Since(start)
		}
		return n == len(s.members)
	})
	all = time.Since(start)
	s.say("a crash is known to one after %s, to all after %s", first, all)
	for _, o := range s.members {
		o.Forget(m.id)
	}
	return first, all
}

// count tells how many members see id in one of the states.
func (s *simulation) count(id node.ID, states ...member.State) (n int) {
	for _, m := range s.members {
		if o, ok := m.Member(id); ok && slices.Contains(states, o.State) {
			n++
		}
	}
	return n
}

// fullSync is how often each of n members exchanges its whole view with
// another one in the lan profile: 30 s, stretched as memberlist does it.
func fullSync(n int) time.Duration {
	const base = 30 * time.Second
	if n <= 32 {
		return base
	}
	return base * time.Duration(math.Ceil(math.Log2(float64(n))-5)+1)
}

// rest counts traffic and CPU while nothing happens, over one period of full
// syncs. It first waits until the first ones are over: they come late.
func (s *simulation) rest(formed time.Time) restFigures {
	window := fullSync(len(s.members))
	s.say("waiting for the first full syncs, then measuring for %s", window)
	<-time.After(time.Until(formed.Add(window + 30*time.Second)))
	before, cpu, start := s.traffic(), cpuTime(s.t), time.Now()
	<-time.After(window)
	after, used, took := s.traffic(), cpuTime(s.t)-cpu, time.Since(start)
	per := float64(len(s.members)) * took.Seconds()
	r := restFigures{
		packets:     float64(after.PacketsSent-before.PacketsSent) / per,
		packetBytes: float64(after.PacketBytesSent-before.PacketBytesSent) / per,
		streamBytes: float64(after.StreamBytesSent-before.StreamBytesSent) / per,
		cpu:         100 * used.Seconds() / per,
		busy:        100 * used.Seconds() / took.Seconds() / float64(runtime.GOMAXPROCS(0)),
	}
	for _, m := range s.members {
		for _, o := range m.Members() {
			if o.State == member.Dead {
				r.flaps++ // the crashed ones are forgotten
			}
		}
	}
	return r
}

// restFigures are per member and second where not said otherwise.
type restFigures struct {
	packets, packetBytes, streamBytes float64
	cpu                               float64 // percent of one core per member
	busy                              float64 // percent of all cores, the whole process
	flaps                             int
}

func (s *simulation) traffic() (sum member.Traffic) {
	for _, m := range s.members {
		t := m.Traffic()
		sum.PacketsSent += t.PacketsSent
		sum.PacketBytesSent += t.PacketBytesSent
		sum.StreamBytesSent += t.StreamBytesSent
	}
	return sum
}

func cpuTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
