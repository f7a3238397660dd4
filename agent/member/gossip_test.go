package member

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stackato/stackato/agent/node"
)

func TestConverge(t *testing.T) {
	n := NewNetwork()
	ms := cluster(t, n, 5)
	for _, m := range ms {
		for _, o := range m.Members() {
			if o.State == Alive && o.Meta.Version != "1.0.0" {
				t.Errorf("%s does not know the metadata of %s: %+v", m.cfg.Name, o.Meta.Name, o.Meta)
			}
			if o.Self != (o.ID == m.cfg.ID) {
				t.Errorf("%s: Self of %s is %v", m.cfg.Name, o.Meta.Name, o.Self)
			}
		}
	}
	eventually(t, "a round trip is measured", func() bool {
		o, _ := ms[0].Member(ms[1].cfg.ID)
		return o.RTT > 0
	})
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(ms[0].Gossip)
	families, err := reg.Gather()
	if err != nil || len(families) != 8 {
		t.Errorf("%d families of metrics, error %v", len(families), err)
	}
	s := ms[0].Stats()
	if s.Traffic.PacketsSent == 0 || s.Traffic.PacketBytesReceived == 0 || s.Traffic.StreamBytesReceived == 0 {
		t.Errorf("no traffic is counted: %+v", s.Traffic)
	}
}

func TestFailureIsDetected(t *testing.T) {
	ms := cluster(t, NewNetwork(), 4)
	victim, rest := ms[3], ms[:3]
	victim.crash()
	if err := <-victim.result; err != nil {
		t.Fatalf("Run: %v", err)
	}
	for _, m := range rest {
		eventually(t, m.cfg.Name+" sees the crashed one dead", func() bool { return m.sees(victim) == Dead })
		if o, _ := m.Member(victim.cfg.ID); o.Meta.Name != "n3" || o.RTT != 0 {
			t.Errorf("of the dead one it keeps %+v", o)
		}
	}
	if rest[0].Forget(rest[1].cfg.ID) {
		t.Error("a member that is alive was forgotten")
	}
	if !rest[0].Forget(victim.cfg.ID) || rest[0].sees(victim) != "" {
		t.Error("the dead one was not forgotten")
	}
	if rest[1].sees(victim) != Dead {
		t.Error("forgetting changed another member's view")
	}
}

// A node that comes back with the same id is the same member, also at once.
func TestRestart(t *testing.T) {
	ms := cluster(t, NewNetwork(), 3)
	before, _ := ms[0].Member(ms[2].cfg.ID)
	ms[2].crash()
	<-ms[2].result
	back := run(t, ms[2].cfg)
	mustJoin(t, back, ms[0])
	for _, m := range ms[:2] {
		eventually(t, "the restart is seen", func() bool {
			o, _ := m.Member(back.cfg.ID)
			return o.State == Alive && o.Meta.Started.After(before.Meta.Started)
		})
	}
	waitConverged(t, ms[0], ms[1], back)
}

func TestSuspicionIsSeenAndRefuted(t *testing.T) {
	n := NewNetwork()
	ms := cluster(t, n, 2)
	n.SetFilter(isolate(ms[1].Addr()))
	eventually(t, "a suspicion", func() bool { return ms[0].sees(ms[1]) == Suspect })
	n.SetFilter(nil)
	mustJoin(t, ms[1], ms[0]) // also when it was declared dead meanwhile
	waitConverged(t, ms...)
}

func TestMetadataSpreads(t *testing.T) {
	n := NewNetwork()
	roles := make(chan node.RoleSet, 1)
	roles <- node.NewRoleSet(node.Base)
	now := func() node.RoleSet { r := <-roles; roles <- r; return r }
	cfg := testConfig(t, n, "changing")
	cfg.Meta = func() Meta { return Meta{Roles: now(), Generation: uint64(now())} }
	changing := run(t, cfg)
	ms := append(cluster(t, n, 3), changing)
	mustJoin(t, changing, ms[0])
	waitConverged(t, ms...)

	changed, stop := ms[1].Subscribe()
	defer stop()
	select { // what was before is not news
	case <-changed:
	default:
	}
	want := node.NewRoleSet(node.Base, node.DEA)
	<-roles
	roles <- want
	if err := changing.UpdateMeta(); err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		eventually(t, m.cfg.Name+" knows the new roles", func() bool {
			o, _ := m.Member(cfg.ID)
			return o.Meta.Roles == want && o.Meta.Generation == uint64(want)
		})
	}
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Error("the subscriber was not told")
	}
}

// Metadata that cannot be encoded is refused and the old one stays.
func TestUpdateMetaRefused(t *testing.T) {
	cfg := testConfig(t, NewNetwork(), "n1")
	zone := make(chan string, 1)
	zone <- "z1"
	cfg.Meta = func() Meta { return Meta{Zone: <-zone} }
	m := run(t, cfg)
	zone <- strings.Repeat("z", 64)
	if err := m.UpdateMeta(); err == nil {
		t.Error("accepted")
	}
	if o, _ := m.Member(cfg.ID); o.Meta.Zone != "z1" {
		t.Errorf("zone is %q", o.Meta.Zone)
	}
}

func TestLeave(t *testing.T) {
	ms := cluster(t, NewNetwork(), 4)
	leaver, rest := ms[3], ms[:3]
	if err := leaver.Leave(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := <-leaver.result; err != nil {
		t.Fatalf("Run after Leave: %v", err)
	}
	for _, m := range rest {
		eventually(t, m.cfg.Name+" sees that it left", func() bool { return m.sees(leaver) == Left })
	}
	if err := leaver.Leave(t.Context(), time.Second); err == nil {
		t.Error("a second Leave succeeds")
	}
	back := run(t, leaver.cfg)
	mustJoin(t, back, ms[0])
	waitConverged(t, append(rest, back)...)
}

// A member that was cut off while another one left hears it from the rest.
func TestLeaveIsLearntLater(t *testing.T) {
	n := NewNetwork()
	ms := cluster(t, n, 4)
	cut, leaver, rest := ms[0], ms[3], ms[1:3]
	n.SetFilter(isolate(cut.Addr()))
	if err := leaver.Leave(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the one cut off gives all up", func() bool { return cut.NumAlive() == 1 })
	if s := cut.sees(leaver); s != Dead {
		t.Fatalf("the one cut off sees %s", s)
	}
	n.SetFilter(nil)
	mustJoin(t, cut, rest[0])
	eventually(t, "it hears that the other left", func() bool { return cut.sees(leaver) == Left })
	waitConverged(t, cut, rest[0], rest[1])
}

// Two halves that gave each other up find together again by their seeds alone.
func TestPartitionHeals(t *testing.T) {
	n := NewNetwork()
	var cfgs []Config
	var seeds []string
	for _, name := range []string{"a", "b", "c", "d"} {
		cfg := testConfig(t, n, name)
		seeds = append(seeds, cfg.Endpoint.Addr().String())
		cfg.Seeds = func() []string { return seeds }
		cfgs = append(cfgs, cfg)
	}
	var ms []*testMember
	for _, cfg := range cfgs {
		ms = append(ms, run(t, cfg)) // nobody calls Join
	}
	waitConverged(t, ms...)
	n.SetFilter(isolate(ms[0].Addr(), ms[1].Addr()))
	for _, m := range ms {
		eventually(t, m.cfg.Name+" sees its half only", func() bool { return m.NumAlive() == 2 })
	}
	// Long enough that gossip to the dead alone would not heal it.
	settled := time.Now().Add(ms[0].ml.GossipToTheDeadTime + 100*time.Millisecond)
	eventually(t, "gossip to the dead is over", func() bool { return time.Now().After(settled) })
	n.SetFilter(nil)
	waitConverged(t, ms...)
	if ms[0].Stats().Rejoins == 0 {
		t.Error("no rejoin is counted")
	}
}

func TestJoinErrors(t *testing.T) {
	n := NewNetwork()
	m := run(t, testConfig(t, n, "n1"))
	nobody := n.NewEndpoint().Addr().String()
	for addr, want := range map[string]string{nobody: "refused", "controller.example": "form ip:port", "10.0.0.1": "form ip:port"} {
		if got, err := m.Join(t.Context(), []string{addr}); got != 0 || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %d answered, error %v does not say %q", addr, got, err, want)
		}
	}
	// A context that ends is not outlived by seconds.
	n.SetFilter(func(netip.AddrPort, netip.AddrPort) bool { return false })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := m.Join(ctx, []string{nobody}); !errors.Is(err, context.DeadlineExceeded) || ctx.Err() == nil || strings.Contains(err.Error(), "dial") {
		t.Errorf("Join did not end with its context: %v", err)
	}
}

// The view drops the dead after Retain and holds a bounded number of them.
func TestTableIsBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	tab := newTable("self", time.Hour, time.Minute)
	tab.now = func() time.Time { return now }
	first := node.NewID()
	for i := range maxGone + 5 {
		id := node.NewID()
		if i == 0 {
			id = first
		}
		tab.seen(Meta{ID: id}, netip.AddrPort{})
		tab.gone(id, false)
		now = now.Add(time.Millisecond)
	}
	if got := len(tab.list()); got != maxGone {
		t.Errorf("%d dead are kept, want %d", got, maxGone)
	}
	if _, ok := tab.get(first); ok {
		t.Error("the oldest is kept")
	}
	now = now.Add(2 * time.Hour)
	if got := len(tab.list()); got != 0 {
		t.Errorf("%d are kept after Retain", got)
	}
	if tab.countAlive() != 0 {
		t.Errorf("%d are counted alive", tab.countAlive())
	}
}
