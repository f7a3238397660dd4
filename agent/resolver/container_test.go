package resolver_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/agent/fence"
	"github.com/stackato/stackato/agent/resolver"
	"github.com/stackato/stackato/jobs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// clientImage is an image with testdata/client and nothing else.
func clientImage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "client"), "./testdata/client")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	image := fmt.Sprintf("stackato/resolver-test:%d", os.Getpid())
	archive := exec.Command("bash", "-c", `tar -C "$1" -c client | docker import - "$2"`, "sh", dir, image)
	if out, err := archive.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { docker(t, "rmi", "-f", image) })
	return image
}

// upstream plays the node's own resolver on a loopback address, and keeps the
// names that it was asked for.
func upstream(t *testing.T, address string, asked chan<- string) {
	t.Helper()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, req *dns.Msg) {
		asked <- req.Question[0].Name
		resp := new(dns.Msg)
		resp.SetReply(req)
		if req.Question[0].Qtype == dns.TypeA {
			for i := range 100 { // more than fits into a packet
				resp.Answer = append(resp.Answer, &dns.A{
					Hdr: dns.RR_Header{Name: req.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
					A:   net.IPv4(192, 0, 2, byte(i)),
				})
			}
		}
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			resp.Truncate(dns.MinMsgSize)
		}
		_ = w.WriteMsg(resp)
	})
	for _, network := range []string{"udp", "tcp"} {
		started := make(chan struct{})
		s := &dns.Server{Addr: address, Net: network, Handler: handler, NotifyStartedFunc: func() { close(started) }}
		ended := make(chan error, 1)
		go func() { ended <- s.ListenAndServe() }()
		select {
		case <-started:
		case err := <-ended:
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = s.Shutdown()
			<-ended
		})
	}
}

// TestContainersAsk: a real container behind the real guard gets the cluster's
// names and, through the node's resolvers, the world's; it reaches nothing else
// at that address, and another address of the node is as shut as before.
func TestContainersAsk(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers: not with -short")
	}
	if os.Getuid() != 0 || exec.Command("docker", "info").Run() != nil {
		t.Skip("needs root and a Docker Engine")
	}
	image := clientImage(t)
	name := fmt.Sprintf("sr%d", os.Getpid()%10000)
	docker(t, "network", "create", "-o", "com.docker.network.bridge.name="+name, "--label", "stackato.test=resolver", name)
	t.Cleanup(func() { docker(t, "network", "rm", name) })
	gateway := docker(t, "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", name)

	asked := make(chan string, 1000)
	upstream(t, "127.53.53.1:53", asked)
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver 127.53.53.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddr("169.254.53.54") // a micro cloud on this machine has the other
	r := resolver.New(resolver.Config{
		Address: address, Bridge: name, Domain: "Stackato.Localhost", File: file, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Routers: func() []netip.Addr {
			return []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("10.1.2.4")}
		},
	})
	guard := fence.NewGuard(fence.GuardConfig{Bridge: name, Chain: strings.ToUpper(name), Resolver: address})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- r.Run(ctx) }()
	go func() { ended <- guard.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		for range 2 {
			if err := r.Remove(context.Background()); err != nil {
				t.Error(err)
			}
		}
		if err := guard.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for r.Ready() != nil || guard.Ready() != nil {
		select {
		case <-t.Context().Done():
			t.Fatal(r.Ready(), guard.Ready())
		case <-time.After(20 * time.Millisecond):
		}
	}
	l, err := net.Listen("tcp", "0.0.0.0:0") // of the node, on every address
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())

	// The server by its address: a network of its own would put Docker's in between.
	run := func(args ...string) string {
		return docker(t, append([]string{"run", "--rm", "--network", name, "-v", file + ".c:/etc/resolv.conf:ro", image, "/client"}, args...)...)
	}
	if err := os.WriteFile(file+".c", []byte("nameserver "+address.String()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := run("api.stackato.localhost", "Any.Thing.STACKATO.localhost", "localhost.", "world.example",
		address.String()+":53", address.String()+":"+port, gateway+":"+port, gateway+":53")
	for _, want := range []string{
		"api.stackato.localhost udp 10.1.2.3,10.1.2.4 <nil>", "api.stackato.localhost tcp 10.1.2.3,10.1.2.4 <nil>",
		"Any.Thing.STACKATO.localhost udp 10.1.2.3,10.1.2.4 <nil>", "localhost. udp 127.0.0.1,::1 <nil>",
		address.String() + ":53 true", address.String() + ":" + port + " false", gateway + ":" + port + " false", gateway + ":53 false",
	} {
		if !strings.Contains("\n"+got+"\n", "\n"+want+"\n") {
			t.Errorf("no line %q", want)
		}
	}
	for line := range strings.Lines(got) {
		f := append(strings.Fields(line), "")
		if n := len(strings.Split(f[2], ",")); f[0] == "world.example" && (n < 10 || f[1] == "tcp" && n != 100) {
			t.Errorf("%d addresses of the world's answer: %s", n, line)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	close(asked)
	for q := range asked {
		if !strings.EqualFold(q, "world.example.") {
			t.Errorf("the world was asked for %s", q)
		}
	}
	// Who is not on the bridge gets nothing, such as this machine itself.
	if resp, err := dns.Exchange(new(dns.Msg).SetQuestion("api.stackato.localhost.", dns.TypeA), address.String()+":53"); err == nil {
		t.Errorf("a stranger was answered: %v", resp)
	}
}

// TestJobsNameTheResolver: what containers are told to ask is where it listens.
func TestJobsNameTheResolver(t *testing.T) {
	if jobs.Resolver != resolver.Address.String() {
		t.Errorf("jobs name %s, the resolver listens on %s", jobs.Resolver, resolver.Address)
	}
}
