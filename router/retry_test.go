package router_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stackato/stackato/router"
	"github.com/stackato/stackato/wire/routing"
)

// refusing returns a backend whose port nobody listens on.
func refusing(t *testing.T, id string) routing.Backend {
	t.Helper()
	l := loopback(t)
	l.Close()
	return backendOf(l.Addr().String(), id)
}

// hangingUp returns a backend that takes connections, reads the first bytes and
// closes; accepted counts them. This is how docker-proxy behaves in front of a
// dead app.
func hangingUp(t *testing.T, id string) (b routing.Backend, accepted *atomic.Int64) {
	t.Helper()
	l := loopback(t)
	accepted = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			_, _ = c.Read(make([]byte, 1))
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return backendOf(l.Addr().String(), id), accepted
}

func TestRetryOnAnotherInstance(t *testing.T) {
	echo := func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		fmt.Fprintf(w, "%d %v", len(body), err)
	}
	tests := []struct {
		name, method string
		body         func() io.Reader
		hangUp       bool // else the bad ones refuse
		want         int
		text         string
	}{
		{"GET, refused", "GET", nil, false, 200, "0 <nil>"},
		{"GET, hung up", "GET", nil, true, 200, "0 <nil>"},
		{"POST, refused", "POST", func() io.Reader { return strings.NewReader("12345") }, false, 200, "5 <nil>"},
		{"large POST, refused", "POST", func() io.Reader { return strings.NewReader(strings.Repeat("x", 1<<20)) }, false, 200, "1048576 <nil>"},
		{"chunked POST, refused", "POST", func() io.Reader { return io.MultiReader(strings.NewReader("12345")) }, false, 200, "5 <nil>"},
		{"POST, hung up", "POST", func() io.Reader { return strings.NewReader("12345") }, true, 502, ""},
		{"POST without body, hung up", "POST", nil, true, 502, ""},
		{"PUT, refused", "PUT", func() io.Reader { return strings.NewReader("12345") }, false, 200, "5 <nil>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			feed := newControllers()
			r := start(t, feed, nil)
			bad := []routing.Backend{refusing(t, "bad-1"), refusing(t, "bad-2")}
			if tt.hangUp {
				bad[0], _ = hangingUp(t, "bad-1")
				bad = bad[:1]
			}
			_, good := app(t, "good", echo)
			// Each order of turns is met once by as many requests as instances.
			feed.set(routeTo("app.example.com", "", append(bad, good)...))
			eventually(t, "route known", func() bool { return r.Position().Version == 1 })
			failed := 0
			for range len(bad) + 1 {
				var body io.Reader
				if tt.body != nil {
					body = tt.body()
				}
				got := r.do(t, tt.method, "http://app.example.com/", body)
				switch {
				case got.StatusCode == http.StatusBadGateway && tt.want == 502:
					failed++
					if got.Header.Get("X-Cf-RouterError") != "endpoint_failure" || got.text != "502 Bad Gateway: Registered endpoint failed to handle the request.\n" {
						t.Errorf("got %v %q", got.Header, got.text)
					}
				case got.StatusCode != http.StatusOK || tt.text != "" && got.text != tt.text:
					t.Errorf("got %d %q", got.StatusCode, got.text)
				}
			}
			if tt.want == 502 && failed != 1 {
				t.Errorf("%d requests failed, want the one that had reached the app, which was not repeated", failed)
			}
		})
	}
}

func TestEjectionAndReturn(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) { c.Limits.Eject = 300 * time.Millisecond })
	bad, tried := hangingUp(t, "bad")
	_, good := app(t, "good", says("good"))
	feed.set(routeTo("app.example.com", "", bad, good))
	r.routed(t, "app.example.com", 200)
	var start time.Time // of the request that ejects it
	eventually(t, "the bad one tried", func() bool {
		start = time.Now()
		r.get(t, "http://app.example.com/")
		return tried.Load() == 1
	})
	for range 10 {
		if got := r.get(t, "http://app.example.com/"); got.text != "good" {
			t.Errorf("got %d", got.StatusCode)
		}
	}
	if n := tried.Load(); n != 1 && time.Since(start) < 200*time.Millisecond {
		t.Errorf("an ejected instance was tried %d times", n)
	}
	eventually(t, "the bad one tried again", func() bool {
		r.get(t, "http://app.example.com/")
		return tried.Load() > 1
	})
}

// TestSoleInstanceIsNeverCutOff: one failure of an app's only instance must not
// turn into half a minute of them.
func TestSoleInstanceIsNeverCutOff(t *testing.T) {
	var fail atomic.Bool
	feed := newControllers()
	r := start(t, feed, nil)
	_, b := app(t, "only", func(w http.ResponseWriter, _ *http.Request) {
		if fail.Load() {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, "ok")
	})
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	fail.Store(true)
	r.routed(t, "app.example.com", 502)
	fail.Store(false)
	if got := r.get(t, "http://app.example.com/"); got.StatusCode != http.StatusOK {
		t.Errorf("got %d", got.StatusCode)
	}
}

func TestStickySessions(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, nil)
	instance := func(id string) routing.Backend {
		_, b := app(t, id, func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/login" {
				http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: "s", Path: "/", Secure: true})
			}
			io.WriteString(w, id)
		})
		return b
	}
	one, two, three := instance("one"), instance("two"), instance("three")
	addresses := map[string]string{"one": one.Address, "two": two.Address, "three": three.Address}
	feed.set(routeTo("app.example.com", "", one, two, three))
	r.routed(t, "app.example.com", 200)

	if got := r.get(t, "http://app.example.com/"); len(got.Cookies()) != 0 {
		t.Errorf("a cookie without a session: %v", got.Cookies())
	}
	login := r.get(t, "http://app.example.com/login")
	home := login.text
	want := "__VCAP_ID__=" + home + "; Path=/; HttpOnly; Secure"
	if got := login.Header.Values("Set-Cookie"); len(got) != 2 || got[1] != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	session := "JSESSIONID=s; __VCAP_ID__=" + home
	for range 6 {
		if got := r.get(t, "http://app.example.com/", "Cookie", session); got.text != home || len(got.Cookies()) != 0 {
			t.Errorf("the session is at %s, went to %s (%v)", home, got.text, got.Cookies())
		}
	}
	seen := map[string]bool{}
	for range 6 { // the cookie counts only with a session
		seen[r.get(t, "http://app.example.com/", "Cookie", "__VCAP_ID__="+home).text] = true
	}
	if len(seen) != 3 {
		t.Errorf("without a session only %v answer", seen)
	}
	if err := r.Withdraw(t.Context(), routing.Withdrawal{AllocID: home, Address: addresses[home]}); err != nil {
		t.Fatal(err)
	}
	moved := r.get(t, "http://app.example.com/", "Cookie", session)
	if moved.text == home || moved.Header.Get("Set-Cookie") != "__VCAP_ID__="+moved.text+"; Path=/; HttpOnly" {
		t.Errorf("after %s went: %s, %q", home, moved.text, moved.Header.Get("Set-Cookie"))
	}
}

func TestOneInstanceByHeader(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, nil)
	var all []routing.Backend
	for i := range 3 {
		_, b := app(t, fmt.Sprint("alloc-", i), says(fmt.Sprint(i)))
		b.Index = i
		all = append(all, b)
	}
	feed.set(routeTo("app.example.com", "", all...))
	r.routed(t, "app.example.com", 200)
	for range 4 {
		if got := r.get(t, "http://app.example.com/", "X-Cf-App-Instance", "app:2"); got.text != "2" {
			t.Errorf("got %q", got.text)
		}
	}
	if got := r.get(t, "http://app.example.com/", "X-Cf-App-Instance", "app:9"); got.StatusCode != http.StatusBadRequest || got.Header.Get("X-Cf-RouterError") != "unknown_route" {
		t.Errorf("got %d %v", got.StatusCode, got.Header)
	}
	if got := r.get(t, "http://app.example.com/", "X-Cf-App-Instance", "app"); got.StatusCode != http.StatusBadRequest || got.Header.Get("X-Cf-RouterError") != "invalid_cf_app_instance_header" {
		t.Errorf("got %d %v", got.StatusCode, got.Header)
	}
}

func TestRequestsPerInstanceAreBounded(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) { c.Limits.BackendRequests = 1 })
	entered, leave := make(chan struct{}), make(chan struct{})
	_, b := app(t, "one", func(_ http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			entered <- struct{}{}
			<-leave
		}
	})
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	done := make(chan int)
	go func() { done <- r.get(t, "http://app.example.com/slow").StatusCode }()
	<-entered
	if got := r.get(t, "http://app.example.com/"); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("X-Cf-RouterError") != "Connection Limit Reached" {
		t.Errorf("got %d %v", got.StatusCode, got.Header)
	}
	close(leave)
	if got := <-done; got != 200 {
		t.Errorf("got %d", got)
	}
}

// TestSlowClientOccupiesNoInstance: a small body is read before an instance is
// chosen.
func TestSlowClientOccupiesNoInstance(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) { c.Limits.BodyTimeout = 50 * time.Millisecond })
	reached := make(chan struct{}, 1)
	_, b := app(t, "one", func(_ http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost {
			reached <- struct{}{}
		}
	})
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	got := r.raw(t, "POST / HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 10\r\n\r\n1234")
	if got.StatusCode != http.StatusRequestTimeout {
		t.Errorf("got %d", got.StatusCode)
	}
	select {
	case <-reached:
		t.Error("the instance has been bothered")
	default:
	}
}

func TestResponseTimeout(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) { c.Limits.ResponseTimeout = 30 * time.Millisecond })
	var asked atomic.Int64
	handler := func(_ http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			asked.Add(1)
			<-req.Context().Done()
		}
	}
	_, one := app(t, "one", handler)
	_, two := app(t, "two", handler)
	feed.set(routeTo("app.example.com", "", one, two))
	r.routed(t, "app.example.com", 200)
	got := r.get(t, "http://app.example.com/slow")
	if got.StatusCode != http.StatusGatewayTimeout || got.Header.Get("X-Cf-RouterError") != "endpoint_timeout" {
		t.Errorf("got %d %v", got.StatusCode, got.Header)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("a request that is slow was sent %d times", n)
	}
}

// TestClientThatLeaves: its request ends at the instance, which is not blamed.
func TestClientThatLeaves(t *testing.T) {
	feed := newControllers()
	var log lines
	r := start(t, feed, func(c *router.Config) { c.Log = log.add })
	entered, left := make(chan struct{}), make(chan struct{})
	_, b := app(t, "one", func(_ http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			close(entered)
			<-req.Context().Done()
			close(left)
		}
	})
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	c, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
	<-entered
	c.Close()
	<-left
	eventually(t, "499 logged", func() bool {
		for _, l := range log.get() {
			if strings.Contains(string(l.Message), `"GET /slow HTTP/1.1" 499 `) {
				return true
			}
		}
		return false
	})
}
