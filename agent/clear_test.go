package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stackato/stackato/agent/local"
)

// TestResetClearsTheMachine: a micro cloud's names go from the hosts file, all
// other lines stay; what the router kept of this cloud's routes goes as well,
// because the terms of another cluster are lower. The firewall is looked at
// where nodes run.
func TestResetClearsTheMachine(t *testing.T) {
	m := newMachine(t, "n1")
	m.cfg.HostsFile = filepath.Join(t.TempDir(), "hosts")
	const others = "127.0.0.1 localhost\n10.0.0.7 printer\n"
	if err := os.WriteFile(m.cfg.HostsFile, []byte(others), 0o644); err != nil {
		t.Fatal(err)
	}
	block := hostsBlock([]string{"api.stackato.localhost", "console.stackato.localhost"})

	text := func() string {
		t.Helper()
		b, err := os.ReadFile(m.cfg.HostsFile)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	write := func() {
		t.Helper()
		if err := os.WriteFile(m.cfg.HostsFile, append([]byte(others), block...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Of a machine that is no member nothing is taken: the names are another's.
	write()
	if err := Reset(m.cfg); err != nil || text() != others+block {
		t.Fatalf("reset of no member: %v\n%s", err, text())
	}

	m.start()
	if _, err := m.Init(m.ctx(), local.InitRequest{Micro: true}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "status to take one machine for what is meant", func() error {
		st, err := m.Status(m.ctx(), false)
		if err == nil && !slices.Equal(st.Notes, []string{"not redundant, as a micro cloud is: one machine"}) {
			err = fmt.Errorf("notes: %q", st.Notes)
		}
		return err
	})
	m.stop()
	routes := m.cfg.path("router", "table")
	if err := os.MkdirAll(filepath.Dir(routes), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(routes, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	write()
	if err := Reset(m.cfg); err != nil || text() != others {
		t.Errorf("reset of a micro cloud: %v\n%s", err, text())
	}
	if _, err := os.Stat(routes); !os.IsNotExist(err) {
		t.Errorf("the routes are still there: %v", err)
	}
}

// TestPrimaryHandsOver: when an agent that leads has handed over and ended,
// another one leads already: nobody had to miss it.
func TestPrimaryHandsOver(t *testing.T) {
	g := newGroup(t, "controller", "controller")
	old := g.primary()
	old.agent.HandOver(old.ctx())
	old.stop()
	for _, m := range g.up() {
		if id, _, ok := m.node().role.cons.Leader(); ok && id == m.id() {
			return
		}
	}
	t.Error("nobody leads")
}

// TestAloneEndsAtOnce: without another voter there is nobody to wait for.
func TestAloneEndsAtOnce(t *testing.T) {
	g := newGroup(t)
	m := g.primary()
	m.agent.HandOver(m.ctx())
	if id, _, ok := m.node().role.cons.Leader(); !ok || id != m.id() {
		t.Error("the only voter does not lead any more")
	}
	newMachine(t, "n9").start().agent.HandOver(m.ctx()) // in no cluster
}
