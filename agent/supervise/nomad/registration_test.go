package nomad

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestRegistered plays a client that was refused by its server: only a call
// to a server makes it register before its time.
func TestRegistered(t *testing.T) {
	stats, woken := `{"client":{"heartbeat_ttl":"0s"}}`, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch token := r.Header.Get("X-Nomad-Token"); {
		case r.URL.Path == "/v1/agent/self" && token == "secret":
			_, _ = io.WriteString(w, `{"stats":`+stats+`}`)
		case r.URL.Path == "/v1/client/stats" && token == "":
			woken++
			stats = `{"client":{"heartbeat_ttl":"2.5s"}}`
			http.Error(w, "Permission denied", http.StatusForbidden)
		default:
			http.Error(w, "Permission denied", http.StatusForbidden)
		}
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	c := NewClient(address, "secret")
	defer c.Close()
	if err := c.Registered(t.Context()); !errors.Is(err, ErrUnregistered) || woken != 1 {
		t.Fatalf("before: %v, woken %d times", err, woken)
	}
	if err := c.Registered(t.Context()); err != nil || woken != 1 {
		t.Fatalf("after: %v, woken %d times", err, woken)
	}
	stats = `{"nomad":{"leader":"true"}}`
	if err := c.Registered(t.Context()); err != nil {
		t.Errorf("no client: %v", err)
	}
	stranger := NewClient(address, "other")
	defer stranger.Close()
	if err := stranger.Registered(t.Context()); err == nil || errors.Is(err, ErrUnregistered) {
		t.Errorf("a token that is not known: %v", err)
	}
}
