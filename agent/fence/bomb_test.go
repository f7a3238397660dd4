package fence

import (
	"strings"
	"testing"

	"github.com/stackato/stackato/wire/instance"
)

// TestForkBomb: an app that starts as many processes as it may, and goes on,
// harms itself alone. What it does not answer is seen, and it can be stopped.
func TestForkBomb(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) {
		s.Command = `testapp & while ! [ -e $TMPDIR/big ]; do sleep 0.05; done; while :; do sleep 1000 & done`
		s.Health = instance.Check{Type: instance.CheckHTTP, Endpoint: "/health"}
	})
	w.app(t, "p2", nil)
	n := startNode(t, w, nil)
	n.run("beside", instance.KindApp, "p2", "v1")
	n.awaitReady("beside")
	id := n.run("bomb", instance.KindApp, "p1", "v1", "--pids-limit", "100")
	n.awaitReady("bomb")
	n.get("bomb", "/write?mb=0")
	await(t, "the bomb to go off", func() bool { return strings.Contains(dockerLogs(t, id), "fork") })

	if got := n.get("beside", "/health"); got != "" {
		t.Errorf("the app beside it answers %q", got)
	}
	n.run("later", instance.KindApp, "p2", "v1") // the same user
	n.awaitReady("later")
	if got := n.get("beside", "/health"); got != "" || !n.status("beside").Ready {
		t.Errorf("the app beside it: %q, %+v", got, n.status("beside"))
	}
	docker(t, "stop", "-t", "30", id)
	await(t, "the end of the bomb", func() bool { return !n.alive("bomb") })
}
