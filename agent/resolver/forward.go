package resolver

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// tryFor bounds one question to one of the node's resolvers.
const tryFor = 1800 * time.Millisecond

// forward asks the node's resolvers, one after the other. Their answer is
// given on as it is, without what belongs to the connection it came by.
func (r *Resolver) forward(ctx context.Context, req *dns.Msg, overTCP bool) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(req.Question[0].Name, req.Question[0].Qtype)
	q.RecursionDesired, q.CheckingDisabled, q.AuthenticatedData = req.RecursionDesired, req.CheckingDisabled, req.AuthenticatedData
	opt := req.IsEdns0()
	q.SetEdns0(payload, opt != nil && opt.Do())
	var refusal *dns.Msg
	for _, server := range r.upstreams.get() {
		resp := exchange(ctx, q, server, overTCP)
		if resp == nil {
			continue
		}
		if resp.Rcode == dns.RcodeServerFailure || resp.Rcode == dns.RcodeRefused || resp.Rcode == dns.RcodeNotImplemented {
			refusal = resp
			continue
		}
		return passOn(req, resp)
	}
	if refusal != nil {
		return passOn(req, refusal)
	}
	return failure(req, dns.RcodeServerFailure)
}

// exchange asks one server; nil is no usable answer. What does not fit into
// a packet is asked for again by TCP if the client takes it all.
func exchange(ctx context.Context, q *dns.Msg, server string, whole bool) *dns.Msg {
	for _, network := range []string{"udp", "tcp"} {
		ctx, cancel := context.WithTimeout(ctx, tryFor)
		q.Id = dns.Id()
		resp, _, err := (&dns.Client{Net: network, UDPSize: dns.MaxMsgSize}).ExchangeContext(ctx, q, server)
		cancel()
		if err != nil || !answers(q, resp) {
			return nil
		}
		if network == "tcp" || !resp.Truncated || !whole {
			return resp
		}
	}
	return nil
}

// answers reports whether a message is the answer to a question.
func answers(q, resp *dns.Msg) bool {
	return resp != nil && resp.Response && len(resp.Question) == 1 && resp.Question[0].Qtype == q.Question[0].Qtype &&
		resp.Question[0].Qclass == q.Question[0].Qclass && strings.EqualFold(resp.Question[0].Name, q.Question[0].Name)
}

func passOn(req, resp *dns.Msg) *dns.Msg {
	resp.Id, resp.Question, resp.RecursionAvailable = req.Id, req.Question, true
	resp.Extra = slices.DeleteFunc(resp.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
	if resp.Rcode > 0xF {
		resp.Rcode = dns.RcodeServerFailure // needs EDNS, which the client may not speak
	}
	return resp
}

// upstreams are the node's own resolvers, read anew when their file changes.
type upstreams struct {
	file string
	own  netip.Addr // never asked

	mu      sync.Mutex
	servers []string // host:port
	looked  time.Time
	changed time.Time // of the file
}

// lookInterval is between two looks at the file.
const lookInterval = time.Second

func (u *upstreams) get() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if time.Since(u.looked) < lookInterval {
		return u.servers
	}
	u.looked = time.Now()
	info, err := os.Stat(u.file)
	if err != nil || info.ModTime().Equal(u.changed) && len(u.servers) > 0 {
		return u.servers // while the file is being replaced the old ones hold
	}
	if servers := nameservers(u.file, func(a netip.Addr) bool { return a != u.own }); len(servers) > 0 {
		u.servers, u.changed = nil, info.ModTime()
		for _, a := range servers {
			u.servers = append(u.servers, net.JoinHostPort(a, "53"))
		}
	}
	return u.servers
}

// nameservers lists the servers that a resolv.conf names and that are good, at
// most three, as the C library does.
func nameservers(file string, good func(netip.Addr) bool) []string {
	c, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil
	}
	var out []string
	for _, s := range c.Servers {
		if a, err := netip.ParseAddr(s); err == nil && good(a.Unmap()) && len(out) < 3 {
			out = append(out, s)
		}
	}
	return out
}

// Fallback is the node's resolver that containers ask while nobody answers on
// [Address], such as when the agent is replaced. It is that address once more
// if containers reach none: they reach neither those of the loopback interface
// nor link-local ones. A stub resolver of systemd is looked behind.
func Fallback() string {
	return fallback("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
}

func fallback(files ...string) string {
	reached := func(a netip.Addr) bool { return a.Is4() && a.IsGlobalUnicast() }
	for _, f := range files {
		if list := nameservers(f, reached); len(list) > 0 {
			return list[0]
		}
	}
	return Address.String()
}
