package router_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stackato/stackato/router"
	"github.com/stackato/stackato/wire/routing"
)

const insideOwnNetwork = "STACKATO_TEST_OWN_NETWORK"

// ownNetwork reports whether this process has a network of its own, which is a
// loopback interface alone. If not, it runs the test in one that has.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideOwnNetwork) == "1" {
		command(t, "ip", "link", "set", "lo", "up")
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("cuts a network: run it as root")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.timeout=30s", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), insideOwnNetwork+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
		t.Errorf("in a network of its own: %v\n%s", err, out)
	}
	return false
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// cut loses what goes to and comes from the instances, until the test ends. No
// side is told, as when a machine loses its power.
func cut(t *testing.T, all ...routing.Backend) {
	t.Helper()
	for _, b := range all {
		_, port, _ := net.SplitHostPort(b.Address)
		for _, side := range []string{"--sport", "--dport"} {
			command(t, "iptables", "-w", "-I", "INPUT", "-p", "tcp", side, port, "-j", "DROP")
		}
	}
	t.Cleanup(func() { command(t, "iptables", "-w", "-F") })
}

// working is an instance that has taken a request and answers when it may.
type working struct {
	routing.Backend
	entered chan string // a request's method
	answer  chan struct{}
}

func startWorking(t *testing.T, id string) *working {
	t.Helper()
	w := &working{entered: make(chan string, 10), answer: make(chan struct{})}
	s, b := app(t, id, func(rw http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/ws":
			websocketEcho(rw, req)
		case "/work":
			w.entered <- req.Method
			<-w.answer
			n, err := io.Copy(io.Discard, req.Body)
			fmt.Fprint(rw, id, " ", n, " ", err)
		default:
			fmt.Fprint(rw, id)
		}
	})
	w.Backend = b
	t.Cleanup(func() { // before the server is closed: it cannot know that nobody is there
		close(w.answer)
		s.CloseClientConnections()
	})
	return w
}

// asked is a request that somebody waits for.
func (r *running) asked(t *testing.T, method, url string, body io.Reader, header ...string) <-chan answer {
	t.Helper()
	out := make(chan answer, 1)
	go func() {
		got := answer{Response: &http.Response{}} // if there is none
		defer func() { out <- got }()
		got = r.do(t, method, url, body, header...)
	}()
	return out
}

// TestLostMachine: who waits for an instance whose machine has lost its power
// or its network is told, or served by another one; who waits for one that is
// busy goes on waiting.
func TestLostMachine(t *testing.T) {
	t.Parallel()
	if !ownNetwork(t) {
		return
	}
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) { c.Limits.Lost = 1500 * time.Millisecond })
	lost, busy, other := startWorking(t, "lost"), startWorking(t, "busy"), startWorking(t, "other")
	feed.set(routeTo("lost.example.com", "", lost.Backend))
	feed.set(routeTo("busy.example.com", "", busy.Backend))
	feed.set(routeTo("app.example.com", "", lost.Backend, other.Backend))
	r.routed(t, "lost.example.com", 200)
	r.routed(t, "busy.example.com", 200)
	r.routed(t, "app.example.com", 200)

	// What the kernel takes at once, and what it does not.
	large, huge := strings.NewReader(strings.Repeat("x", 1<<20)), strings.NewReader(strings.Repeat("x", 16<<20))
	session := []string{"Cookie", "JSESSIONID=s; __VCAP_ID__=lost"}
	get := r.asked(t, "GET", "http://lost.example.com/work", nil)
	post := r.asked(t, "POST", "http://app.example.com/work", strings.NewReader("order"), session...)
	upload := r.asked(t, "POST", "http://lost.example.com/work", large)
	again := r.asked(t, "GET", "http://app.example.com/work", nil, session...)
	patient := r.asked(t, "POST", "http://busy.example.com/work", huge)
	for range 4 {
		<-lost.entered
	}
	<-busy.entered
	ws, _ := upgradeAt(t, r, "lost.example.com")
	cut(t, lost.Backend)

	for name, wait := range map[string]<-chan answer{"GET": get, "POST": post, "upload": upload} {
		if got := <-wait; got.StatusCode != http.StatusBadGateway || got.Header.Get("X-Cf-Routererror") != "endpoint_failure" {
			t.Errorf("%s: %d %v %s", name, got.StatusCode, got.Header, got.text)
		}
	}
	if n, err := ws.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("the WebSocket is still there: %v", err)
	}
	// The GET may be repeated, the POST was not.
	if method := <-other.entered; method != "GET" {
		t.Errorf("the other instance got a %s", method)
	}
	other.answer <- struct{}{}
	if got := <-again; got.text != "other 0 <nil>" {
		t.Errorf("a GET that another instance could answer: %d %s", got.StatusCode, got.text)
	}
	select {
	case method := <-other.entered:
		t.Errorf("a %s came to the other instance, too", method)
	case got := <-patient:
		t.Errorf("who waits for a busy instance got %d %s", got.StatusCode, got.text)
	default:
	}
	busy.answer <- struct{}{}
	if got := <-patient; got.text != fmt.Sprint("busy ", 16<<20, " <nil>") {
		t.Errorf("from the busy instance: %d %s", got.StatusCode, got.text)
	}
}

// TestLostFromTheTable: an instance that leaves the routes without having said
// goodbye is given up sooner; if its machine lives, its requests end as usual.
func TestLostFromTheTable(t *testing.T) {
	t.Parallel()
	if !ownNetwork(t) {
		return
	}
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) { c.Limits.Lost = 8 * time.Second })
	gone, silent, unmapped := startWorking(t, "gone"), startWorking(t, "silent"), startWorking(t, "unmapped")
	sockets := map[string]net.Conn{}
	for name, w := range map[string]*working{"gone": gone, "silent": silent, "unmapped": unmapped} {
		feed.set(routeTo(name+".example.com", "", w.Backend))
		r.routed(t, name+".example.com", 200)
		if name != "unmapped" {
			sockets[name], _ = upgradeAt(t, r, name+".example.com")
		}
	}
	works := r.asked(t, "POST", "http://unmapped.example.com/work", nil)
	<-unmapped.entered
	cut(t, gone.Backend, silent.Backend)
	ended := make(chan string, 2)
	for name, c := range sockets {
		io.WriteString(c, "is anybody there?")
		go func() {
			_, _ = c.Read(make([]byte, 1))
			ended <- name
		}()
	}
	for _, name := range []string{"gone", "unmapped"} {
		feed.set(routing.Route{Key: routing.Key{Host: name + ".example.com"}})
	}
	if first := <-ended; first != "gone" {
		t.Errorf("the connection to %s was given up first", first)
	}
	unmapped.answer <- struct{}{}
	if got := <-works; got.text != "unmapped 0 <nil>" {
		t.Errorf("an instance without a route that had begun: %d %s", got.StatusCode, got.text)
	}
	sockets["silent"].Close()
	<-ended
}
