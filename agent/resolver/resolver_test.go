package resolver

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func question(name string, kind uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, kind) }

// server plays one of the node's resolvers and returns its address.
func server(t *testing.T, answer func(*dns.Msg) *dns.Msg) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, req *dns.Msg) {
		if resp := answer(req); resp != nil {
			_ = w.WriteMsg(resp)
		}
	})}
	started, ended := make(chan struct{}), make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go func() {
		defer close(ended)
		_ = s.ActivateAndServe()
	}()
	<-started
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-ended
	})
	return conn.LocalAddr().String()
}

func resolverWith(domain string, servers ...string) *Resolver {
	r := New(Config{Domain: domain, Routers: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("10.0.0.1")} }})
	r.upstreams.servers, r.upstreams.looked = servers, time.Now().Add(time.Hour)
	return r
}

func addresses(m *dns.Msg) (out []string) {
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			out = append(out, rr.A.String())
		case *dns.AAAA:
			out = append(out, rr.AAAA.String())
		}
	}
	return out
}

func TestNamesOfTheCluster(t *testing.T) {
	never := server(t, func(req *dns.Msg) *dns.Msg {
		t.Errorf("the world was asked for %s", req.Question[0].Name)
		return nil
	})
	for _, test := range []struct {
		domain, name string
		kind         uint16
		code         int
		want         []string
	}{
		{"paas.example.com", "paas.example.com.", dns.TypeA, dns.RcodeSuccess, []string{"10.0.0.1"}},
		{"paas.example.com", "a.b.PAAS.example.com.", dns.TypeA, dns.RcodeSuccess, []string{"10.0.0.1"}},
		{"paas.example.com", "a.paas.example.com.", dns.TypeAAAA, dns.RcodeSuccess, nil},
		{"paas.example.com", "a.paas.example.com.", dns.TypeTXT, dns.RcodeSuccess, nil},
		{"paas.example.com", "a.paas.example.com.", dns.TypeANY, dns.RcodeRefused, nil},
		{"paas.example.com", "paas.example.com.", dns.TypeAXFR, dns.RcodeRefused, nil},
		{"paas.example.com", "a.localhost.", dns.TypeA, dns.RcodeSuccess, []string{"127.0.0.1"}},
		{"stackato.localhost", "mine.localhost.", dns.TypeA, dns.RcodeSuccess, []string{"10.0.0.1"}},
		{"stackato.localhost", "localhost.", dns.TypeAAAA, dns.RcodeSuccess, []string{"::1"}},
	} {
		resp := resolverWith(test.domain, never).respond(t.Context(), question(test.name, test.kind), false)
		if diff := cmp.Diff(test.want, addresses(resp)); diff != "" || resp.Rcode != test.code {
			t.Errorf("%s %s: %s %s", test.name, dns.TypeToString[test.kind], dns.RcodeToString[resp.Rcode], diff)
		}
		if resp.Rcode == dns.RcodeSuccess && len(test.want) == 0 && len(resp.Ns) != 1 {
			t.Errorf("%s: no SOA, so that clients cannot remember that there is none", test.name)
		}
	}
	r := resolverWith("paas.example.com", never)
	r.cfg.Routers = func() []netip.Addr { return nil }
	if resp := r.respond(t.Context(), question("a.paas.example.com.", dns.TypeA), false); resp.Rcode != dns.RcodeServerFailure {
		t.Errorf("without routers: %v", resp)
	}
}

func TestNamesOfTheWorld(t *testing.T) {
	good := server(t, func(req *dns.Msg) *dns.Msg {
		resp := new(dns.Msg)
		resp.SetReply(req)
		resp.SetEdns0(4096, false)
		resp.Extra = append(resp.Extra, &dns.A{
			Hdr: dns.RR_Header{Name: "x.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, 9),
		})
		resp.Answer = append(resp.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: req.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 1),
		})
		return resp
	})
	refuses := server(t, func(req *dns.Msg) *dns.Msg { return failure(req, dns.RcodeRefused) })
	lies := server(t, func(req *dns.Msg) *dns.Msg {
		resp := failure(req, dns.RcodeSuccess)
		resp.Question[0].Name = "other.example."
		return resp
	})
	req := question("paasXexample.com.", dns.TypeA)
	resp := resolverWith("paas.example.com", refuses, lies, good).respond(t.Context(), req, false)
	fit(req, resp, false)
	if got := addresses(resp); !slices.Equal(got, []string{"192.0.2.1"}) || resp.Id != req.Id || resp.IsEdns0() != nil || !resp.RecursionAvailable {
		t.Errorf("answer: %v", resp)
	}
	if resp := resolverWith("paas.example.com", refuses).respond(t.Context(), req, false); resp.Rcode != dns.RcodeRefused || resp.Id != req.Id {
		t.Errorf("refused by all: %v", resp)
	}
	if resp := resolverWith("paas.example.com").respond(t.Context(), req, false); resp.Rcode != dns.RcodeServerFailure {
		t.Errorf("without resolvers: %v", resp)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if resp := resolverWith("", good).respond(ctx, req, false); resp.Rcode != dns.RcodeServerFailure {
		t.Errorf("after the deadline: %v", resp)
	}
}

func TestAnswersFit(t *testing.T) {
	big := func() *dns.Msg {
		resp := failure(question("a.example.", dns.TypeA), dns.RcodeSuccess)
		for i := range 200 {
			resp.Answer = append(resp.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: "a.example.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, byte(i)),
			})
		}
		return resp
	}
	for _, test := range []struct {
		edns    uint16
		overTCP bool
		most    int
	}{{0, false, 512}, {100, false, 512}, {1000, false, 1000}, {65000, false, payload}, {0, true, dns.MaxMsgSize}} {
		req, resp := question("a.example.", dns.TypeA), big()
		if test.edns > 0 {
			req.SetEdns0(test.edns, false)
		}
		fit(req, resp, test.overTCP)
		b, err := resp.Pack()
		if err != nil || len(b) > test.most || resp.Truncated == test.overTCP || (resp.IsEdns0() != nil) != (test.edns > 0) {
			t.Errorf("%+v: %d bytes, truncated %v, %v", test, len(b), resp.Truncated, err)
		}
	}
}

func TestQuestionsAreBounded(t *testing.T) {
	a := admitted{all: 3, each: 2}
	one, two := netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("172.17.0.3")
	got := []bool{a.enter(one), a.enter(one), a.enter(one), a.enter(two), a.enter(two)}
	if diff := cmp.Diff([]bool{true, true, false, true, false}, got); diff != "" {
		t.Error(diff)
	}
	a.leave(one)
	a.leave(one)
	a.leave(two)
	if a.total != 0 || len(a.by) != 0 || !a.enter(one) {
		t.Errorf("left over: %+v", &a)
	}
}

func TestResolversOfTheNode(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	stub := write("stub", "nameserver 127.0.0.53\noptions edns0\n")
	behind := write("behind", "nameserver fe80::1\nnameserver 169.254.169.253\nnameserver 10.0.0.2\n")
	for want, files := range map[string][]string{
		Address.String(): {stub, filepath.Join(dir, "missing")}, "10.0.0.2": {stub, behind},
	} {
		if got := fallback(files...); got != want {
			t.Errorf("fallback of %v: %s, not %s", files, got, want)
		}
	}

	u := upstreams{file: write("own", "nameserver "+Address.String()+"\nnameserver 127.0.0.53\n"), own: Address}
	if diff := cmp.Diff([]string{"127.0.0.53:53"}, u.get()); diff != "" {
		t.Error(diff)
	}
	// Emptied, as while it is written: the old ones hold. Then others.
	u.file, u.looked = write("own", ""), time.Time{}
	if diff := cmp.Diff([]string{"127.0.0.53:53"}, u.get()); diff != "" {
		t.Error(diff)
	}
	u.file, u.looked, u.changed = write("own", "nameserver 10.0.0.9\n"), time.Time{}, time.Time{}
	if diff := cmp.Diff([]string{"10.0.0.9:53"}, u.get()); diff != "" {
		t.Error(diff)
	}
}
