package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

const day = 24 * time.Hour

// shift moves the clock of a stopped machine.
func (m *machine) shift(d time.Duration) { m.cfg.ClockOffset = d }

// wantCertificates waits until every machine that is up has a certificate that
// is good by its clock, and the cluster is healthy in the eyes of all.
func (g *group) wantCertificates() {
	g.t.Helper()
	eventually(g.t, "all have certificates and are healthy", func() error {
		for _, m := range g.up() {
			r := m.node()
			if r == nil {
				return fmt.Errorf("%s is not running as a node", m.name)
			}
			if end := r.creds.leaf().NotAfter; m.cfg.Now().After(end) {
				return fmt.Errorf("the certificate of %s ended on %s", m.name, end)
			}
			if why := r.renewalDue(r.dir.get()); why != "" {
				return fmt.Errorf("%s should renew: %s", m.name, why)
			}
			st, err := m.Status(m.ctx(), true)
			if err != nil {
				return err
			}
			for _, n := range st.Nodes {
				if g.named(n.Name).cancel != nil && !n.Reachable {
					return fmt.Errorf("%s cannot reach %s: %s", m.name, n.Name, n.Error)
				}
			}
			if st.Primary == "" {
				return fmt.Errorf("%s knows no Primary", m.name)
			}
		}
		return nil
	})
}

// TestClusterOffForMonths stops a cluster whose certificates end while it is
// off.
func TestClusterOffForMonths(t *testing.T) {
	t.Parallel()
	g := &group{t: t}
	for i, role := range []string{"", "controller", "controller", "dea", "dea"} {
		m := newMachine(t, fmt.Sprintf("n%d", i+1))
		m.shift(-90 * day)
		m.start()
		if i == 0 {
			m.initialise()
		} else {
			m.join(g.machines[0], role)
		}
		g.machines = append(g.machines, m)
	}
	t.Cleanup(g.cancel)
	g.settle()
	old := map[string]string{}
	for _, m := range g.machines {
		leaf := m.node().creds.leaf()
		old[m.name] = leaf.SerialNumber.String()
		if life := leaf.NotAfter.Sub(leaf.NotBefore); life < 30*day || life > 30*day+10*time.Minute {
			t.Errorf("%s: the certificate lasts %s", m.name, life)
		}
		if back := m.cfg.Now().Sub(leaf.NotBefore); back < 5*time.Minute {
			t.Errorf("%s: the certificate is dated back by less than 5 minutes", m.name)
		}
	}
	for _, m := range g.machines {
		m.stop()
		m.shift(0)
	}
	late := g.named("n5") // it comes when the others work again
	for _, m := range g.machines {
		if m != late {
			m.start()
		}
	}
	g.wantCertificates()
	late.start()
	g.wantCertificates()
	g.settle()
	for _, m := range g.machines {
		leaf := m.node().creds.leaf()
		if leaf.SerialNumber.String() == old[m.name] {
			t.Errorf("%s still has its old certificate", m.name)
		}
		saved, err := pki.ParseCert([]byte(m.files()["pki/node.crt"]))
		if err != nil || saved.SerialNumber.Cmp(leaf.SerialNumber) != 0 {
			t.Errorf("%s: the new certificate is not on disk: %v", m.name, err)
		}
		controller := m.node().role != nil
		if offline := strings.Contains(m.logs.String(), "renewed it from the local key ring"); offline != controller {
			t.Errorf("%s: controller %v, renewed from the local ring %v", m.name, controller, offline)
		}
		if m.node().isRemoved() != nil {
			t.Errorf("%s takes itself for removed", m.name)
		}
	}
	if _, err := late.Nodes(late.ctx()); err != nil {
		t.Errorf("the late node: %v", err)
	}
}

// TestExpiredCertificateOfRemovedNode comes back to a cluster that it was
// removed from while it was off.
func TestExpiredCertificateOfRemovedNode(t *testing.T) {
	t.Parallel()
	g := &group{}
	for i, role := range []string{"", "dea"} {
		m := newMachine(t, fmt.Sprintf("n%d", i+1))
		m.shift(-90 * day)
		m.start()
		if i == 0 {
			m.initialise()
		} else {
			m.join(g.machines[0], role)
		}
		g.machines = append(g.machines, m)
	}
	n1, n2 := g.machines[0], g.machines[1]
	n2.stop()
	if err := n1.NodeRemove(n1.ctx(), local.NodeRemoveRequest{Node: "n2", Force: true}, nil); err != nil {
		t.Fatal(err)
	}
	n1.stop()
	n1.shift(0)
	n2.shift(0)
	n1.start()
	old := n2.files()["pki/node.crt"]
	n2.start()
	eventually(t, "n2 is told that it does not belong", func() error {
		if r := n2.node(); r == nil || r.isRemoved() == nil {
			return errors.New("not yet")
		}
		return nil
	})
	if n2.files()["pki/node.crt"] != old {
		t.Error("a removed node got a certificate")
	}
}

func TestCertificatesRenewAtAThird(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller", "dea")
	g.wantCertificates() // with the names of the servers
	old := map[string]time.Time{}
	for _, m := range g.machines {
		old[m.name] = m.node().creds.leaf().NotAfter
		m.stop()
		m.shift(9 * day) // not yet a third of 30
	}
	for _, m := range g.machines {
		m.start()
	}
	g.settle()
	g.wantCertificates()
	for _, m := range g.machines {
		if end := m.node().creds.leaf().NotAfter; !end.Equal(old[m.name]) {
			t.Errorf("%s renewed after 9 days", m.name)
		}
		m.stop()
		m.shift(11 * day)
	}
	for _, m := range g.machines {
		m.start()
	}
	g.settle()
	g.wantCertificates()
	for _, m := range g.machines {
		if end := m.node().creds.leaf().NotAfter; end.Sub(old[m.name]) < 10*day {
			t.Errorf("%s did not renew: %s after %s", m.name, end, old[m.name])
		}
		if !strings.Contains(m.logs.String(), "a third of its lifetime has passed") {
			t.Errorf("%s: the log does not tell why", m.name)
		}
	}
}

func TestServerNamesFollowTheRole(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller", "dea", "")
	n1, n3 := g.machines[0], g.machines[2]
	names := func(m *machine, server, client bool) {
		t.Helper()
		eventually(t, m.name+"'s certificate", func() error {
			if m.node() == nil {
				return errors.New("it restarts")
			}
			have := m.node().creds.leaf().DNSNames
			if slices.Contains(have, pki.ConsulServerName) != server || slices.Contains(have, pki.NomadServerName) != server ||
				slices.Contains(have, pki.NomadClientName) != client {
				return fmt.Errorf("it has %q", have)
			}
			return nil
		})
	}
	for _, m := range g.machines[:3] {
		names(m, true, true)
	}
	names(g.machines[3], false, true)
	names(g.machines[4], false, false)
	if _, err := n1.ChangeRoles(n1.ctx(), local.RoleChange{Node: "n3", Op: local.RoleSet, Names: []string{"router"}}, nil); err != nil {
		t.Fatal(err)
	}
	names(n3, false, false)
	if _, err := n1.ChangeRoles(n1.ctx(), local.RoleChange{Node: "n5", Op: local.RoleAdd, Names: []string{"dea"}}, nil); err != nil {
		t.Fatal(err)
	}
	names(g.machines[4], false, true)
	g.settle()
	if got := n1.nodeNamed("n3").Roles; got != node.NewRoleSet(node.Base, node.Router) {
		t.Errorf("n3 has %s", got)
	}
}
