package main

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync/atomic"
	"testing"
)

// A router that loses its role is refused on the connection that it has, and
// gets no other use of it.
func TestRouterLosesItsRole(t *testing.T) {
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			var lost atomic.Bool
			c := cloudOf(nil)
			c.env.MayCall = func(tls.ConnectionState) error {
				if lost.Load() {
					return errors.New("no router")
				}
				return nil
			}
			s := httptest.NewUnstartedServer(c.fromRouters(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
			s.EnableHTTP2 = h2
			s.StartTLS()
			defer s.Close()
			ask := func() (status int, reused bool) {
				trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
				r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, s.URL, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := s.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				if err := resp.Body.Close(); err != nil {
					t.Error(err)
				}
				if got := resp.ProtoMajor == 2; got != h2 {
					t.Fatalf("protocol %s", resp.Proto)
				}
				return resp.StatusCode, reused
			}
			ask()
			if status, reused := ask(); status != http.StatusOK || !reused {
				t.Fatalf("a router: %d, same connection %v", status, reused)
			}
			lost.Store(true)
			if status, reused := ask(); status != http.StatusForbidden || !reused {
				t.Errorf("no router any more: %d, same connection %v", status, reused)
			}
			lost.Store(false)
			if status, reused := ask(); status != http.StatusOK || reused {
				t.Errorf("afterwards: %d, same connection %v; want a new one", status, reused)
			}
		})
	}
}
