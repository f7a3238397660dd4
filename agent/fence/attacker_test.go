package fence

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/wire/instance"
)

// stackImage returns a stack image of this machine that has Python.
func stackImage(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("docker", "images", "-q", "stackato/stack").Output()
	if err != nil {
		t.Skip(err)
	}
	for _, id := range strings.Fields(string(out)) {
		if exec.Command("docker", "run", "--rm", "--entrypoint", "/usr/bin/python3", id, "-c", "").Run() == nil {
			return id
		}
	}
	t.Skip("no stack image with Python on this machine: scripts/stack makes one")
	return ""
}

// TestAttackerGetsNowhere runs the sample app that attacks its node, in the
// real stack image, first without the guard: it must then find something.
func TestAttackerGetsNowhere(t *testing.T) {
	n := newNetwork(t, 1)
	image := stackImage(t)
	source, err := os.ReadFile("../../samples/attacker/attack.py")
	if err != nil {
		t.Fatal(err)
	}
	n.server() // another app
	// A port of the control plane, where nothing else listens on this machine.
	for _, port := range []string{"8600", "8503", "2376"} {
		l, err := net.Listen("tcp", n.gateway+":"+port)
		if err == nil {
			defer l.Close()
			break
		}
	}

	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) {
		s.Command = "python3 attack.py"
		s.Health = instance.Check{Type: instance.CheckHTTP, Endpoint: "/healthz"}
		s.Droplet = w.put(droplet(t, map[string]string{"app/attack.py": string(source)}))
	})
	guard := NewGuard(GuardConfig{Bridge: n.bridge, Chain: strings.ToUpper(n.name) + "A"})
	f := startNode(t, w, func(c *Config) { c.Timing.Interval = time.Hour })
	docker(t, "tag", image, built.image+"-attacker")
	t.Cleanup(func() { docker(t, "rmi", built.image+"-attacker") })
	f.image = built.image + "-attacker"
	f.run("a1", instance.KindApp, "p1", "v1", "--network", n.name, "--memory", "128m", "--security-opt", "no-new-privileges")
	f.awaitReady("a1")
	attack := func() []string {
		t.Helper()
		// The published port is on the loopback address here.
		resp, err := http.Get("http://" + f.status("a1").Address)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		defer http.DefaultClient.CloseIdleConnections()
		var result struct {
			Tried    int
			Breaches []string
		}
		if err := json.NewDecoder(resp.Body).Decode(&result); err != nil || result.Tried < 100 {
			t.Fatalf("tried %d, %v", result.Tried, err)
		}
		return result.Breaches
	}
	if got := strings.Join(attack(), "\n"); !strings.Contains(got, "port of a node: "+n.gateway) || !strings.Contains(got, "another container") {
		t.Fatalf("without the guard it found only %q, so nothing is proved", got)
	}
	t.Cleanup(func() {
		if err := guard.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := guard.apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := attack(); len(got) != 0 {
		t.Errorf("the attacker got: %s", strings.Join(got, "\n"))
	}
}
