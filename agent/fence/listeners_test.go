package fence

import (
	"testing"
	"time"

	"github.com/stackato/stackato/wire/instance"
)

// TestListensElsewhere: who listens where nobody reaches it is told so.
func TestListensElsewhere(t *testing.T) {
	for listen, want := range map[string]string{
		"tcp4 127.0.0.1:8080": "did not come up within 5s: nothing listens on port 8080; the app listens there on 127.0.0.1 only, and must on 0.0.0.0",
		"tcp6 [::]:8080":      "did not come up within 5s: nothing listens on port 8080; the app listens there on IPv6 addresses only, and must on 0.0.0.0",
		"tcp4 0.0.0.0:9999":   "did not come up within 5s: nothing listens on port 8080; the app listens on port 9999, and $PORT is 8080",
	} {
		for _, kind := range []string{instance.CheckPort, instance.CheckHTTP} {
			t.Run(kind+" "+listen, func(t *testing.T) {
				w := newWorld()
				w.app(t, "p1", func(s *instance.Spec) {
					s.Command = "exec testapp listen " + listen
					s.Health = instance.Check{Type: kind, Timeout: 5 * time.Second} // in which it must have begun to listen
				})
				n := startNode(t, w, nil)
				n.run("a1", instance.KindApp, "p1", "v1")
				await(t, "crash", func() bool { return n.status("a1").State == instance.Crashed })
				if got := n.status("a1").Reason; got != want {
					t.Errorf("reason %q", got)
				}
			})
		}
	}
}
