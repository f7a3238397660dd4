package resolver

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

const (
	// lifetime of answers about routers, in seconds: they come and go.
	lifetime = 5
	// payload is the size of UDP messages that pass every network.
	payload = 1232
	// maxRouters bounds the addresses in one answer.
	maxRouters = 8
)

// answer is the handler of both servers.
func (r *Resolver) answer(ctx context.Context, w dns.ResponseWriter, req *dns.Msg) {
	client := addressOf(w.RemoteAddr())
	if !r.clients.may(client) {
		return // nobody of ours: no answer, not even a refusal, to a forged address
	}
	_, overTCP := w.RemoteAddr().(*net.TCPAddr)
	var resp *dns.Msg
	if r.admitted.enter(client) {
		defer r.admitted.leave(client)
		ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
		defer cancel()
		resp = r.respond(ctx, req, overTCP)
	} else {
		resp = failure(req, dns.RcodeServerFailure)
	}
	fit(req, resp, overTCP)
	_ = w.WriteMsg(resp) // the client has gone
}

// respond makes the answer to a question.
func (r *Resolver) respond(ctx context.Context, req *dns.Msg, overTCP bool) *dns.Msg {
	if req.Opcode != dns.OpcodeQuery || len(req.Question) != 1 {
		return failure(req, dns.RcodeNotImplemented)
	}
	q := req.Question[0]
	switch q.Qtype {
	case dns.TypeAXFR, dns.TypeIXFR, dns.TypeANY, dns.TypeMAILA, dns.TypeMAILB:
		return failure(req, dns.RcodeRefused)
	}
	if q.Qclass != dns.ClassINET {
		return failure(req, dns.RcodeRefused)
	}
	name := strings.TrimSuffix(strings.ToLower(q.Name), ".")
	switch zone := r.zoneOf(name); {
	case name == "localhost" || zone == "" && strings.HasSuffix(name, ".localhost"):
		return own(req, "localhost", []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()})
	case zone != "":
		routers := r.cfg.Routers()
		if len(routers) == 0 {
			return failure(req, dns.RcodeServerFailure)
		}
		return own(req, zone, routers[:min(len(routers), maxRouters)])
	}
	return r.forward(ctx, req, overTCP)
}

// zoneOf returns which of our zones a name is in, "" for none.
func (r *Resolver) zoneOf(name string) string {
	for _, z := range r.zones {
		if name == z || strings.HasSuffix(name, "."+z) {
			return z
		}
	}
	return ""
}

// own answers by itself: the addresses of the wanted kind, or that there are
// none.
func own(req *dns.Msg, zone string, addresses []netip.Addr) *dns.Msg {
	resp := new(dns.Msg)
	resp.SetReply(req)
	resp.Authoritative, resp.RecursionAvailable = true, true
	q := req.Question[0]
	head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: lifetime}
	for _, a := range addresses {
		switch {
		case q.Qtype == dns.TypeA && a.Is4():
			resp.Answer = append(resp.Answer, &dns.A{Hdr: head, A: a.AsSlice()})
		case q.Qtype == dns.TypeAAAA && a.Is6():
			resp.Answer = append(resp.Answer, &dns.AAAA{Hdr: head, AAAA: a.AsSlice()})
		}
	}
	if len(resp.Answer) == 0 {
		head := dns.RR_Header{Name: dns.Fqdn(zone), Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: lifetime}
		resp.Ns = append(resp.Ns, &dns.SOA{
			Hdr: head, Ns: dns.Fqdn(zone), Mbox: dns.Fqdn("hostmaster." + zone),
			Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: lifetime,
		})
	}
	return resp
}

func failure(req *dns.Msg, code int) *dns.Msg {
	resp := new(dns.Msg)
	resp.SetRcode(req, code)
	resp.RecursionAvailable = true
	return resp
}

// fit brings an answer to what the client takes: EDNS only if it asked so, and
// no more over UDP than it has room for.
func fit(req, resp *dns.Msg, overTCP bool) {
	room := dns.MinMsgSize
	if opt := req.IsEdns0(); opt != nil {
		resp.SetEdns0(payload, opt.Do())
		room = min(max(int(opt.UDPSize()), dns.MinMsgSize), payload)
	}
	if overTCP {
		room = dns.MaxMsgSize
	}
	resp.Compress = true
	resp.Truncate(room)
}
