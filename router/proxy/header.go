package proxy

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// strangers lists headers that are believed only from TrustedProxies.
var strangers = []string{
	"Forwarded", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Client-Cert", "X-Forwarded-Prefix",
	"X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Real-Ip", "X-Client-Cert", "Ssl-Client-Cert",
	"Ssl-Client-Verify", "Ssl-Client-S-Dn", "X-Request-Start",
}

// never lists headers that no app is to get from anybody. Proxy would become
// HTTP_PROXY in the environment of CGI programs, and lead their own requests to
// whoever sent it.
var never = []string{"Proxy", "Http2-Settings"}

// ours lists headers that only routers set on requests.
var ours = []string{"X-Vcap-Request-Id", "X-Cf-Applicationid", "X-Cf-Instanceid", "X-Cf-Instanceindex", "X-Cf-App-Instance", "X-Cf-Routererror"}

// identify finds out who the client is.
func (p *Proxy) identify(x *exchange) {
	host, _, err := net.SplitHostPort(x.in.RemoteAddr)
	if err != nil {
		host = x.in.RemoteAddr
	}
	x.client = host
	if trusted := *p.trusted.Load(); len(trusted) > 0 {
		if peer, err := netip.ParseAddr(host); err == nil {
			x.trusted = within(trusted, peer)
		}
	}
}

func within(list []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// behind is the client as trusted proxies tell of it: the last address in
// X-Forwarded-For that is none of theirs. What stands before that address
// anybody may have written.
func (p *Proxy) behind(x *exchange) string {
	client := x.client
	rest := strings.Join(x.in.Header["X-Forwarded-For"], ",")
	for trusted := *p.trusted.Load(); rest != ""; {
		i := strings.LastIndexByte(rest, ',')
		a, err := netip.ParseAddr(strings.TrimSpace(rest[i+1:]))
		if err != nil {
			return client
		}
		client = a.Unmap().WithZone("").String()
		if !within(trusted, a) {
			return client
		}
		rest = rest[:max(i, 0)]
	}
	return client
}

// rewrite makes the header of the request that backends get. ReverseProxy has
// removed hop-by-hop headers before, so a client cannot have removed what is set
// here.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	in, out := pr.In, pr.Out
	out.URL.Scheme = "http"
	out.URL.RawQuery = in.URL.RawQuery // as it came: apps see what the client sent
	out.Host = in.Host
	h := out.Header

	dropLookalikes(h)
	if upgradesToHTTP2(h) {
		// A backend that switched would talk past the router to the client.
		h.Del("Upgrade")
		h.Del("Connection")
	}
	for _, name := range never {
		h.Del(name)
	}
	for _, name := range ours {
		h.Del(name)
	}
	for _, name := range strangers {
		if x.trusted {
			// ReverseProxy drops some of these.
			if v, ok := in.Header[name]; ok {
				h[name] = v
			}
			continue
		}
		h.Del(name)
	}
	client := x.client
	if x.trusted && x.route.System {
		client = p.behind(x)
	}
	x.setForwarded(in, h, client)
	if h.Get("X-Request-Start") == "" {
		h.Set("X-Request-Start", strconv.FormatInt(x.start.UnixMilli(), 10))
	}
	h.Set("X-Vcap-Request-Id", x.id)
}

// setForwarded sets X-Forwarded-*. Apps get what the client claims in
// X-Forwarded-For with the true address at the end, as in Cloud Foundry; the
// controllers, who count log-ins by address, get only what is true: client.
func (x *exchange) setForwarded(in *http.Request, h http.Header, client string) {
	x.forwarded = client
	if prior := in.Header["X-Forwarded-For"]; len(prior) > 0 && !x.route.System {
		x.forwarded = strings.Join(prior, ", ") + ", " + x.client
	}
	h.Set("X-Forwarded-For", x.forwarded)
	proto, port := "http", "80"
	if in.TLS != nil {
		proto, port = "https", "443"
	}
	if h.Get("X-Forwarded-Proto") == "" {
		h.Set("X-Forwarded-Proto", proto)
	}
	x.proto = h.Get("X-Forwarded-Proto")
	if h.Get("X-Forwarded-Host") == "" {
		h.Set("X-Forwarded-Host", in.Host)
	}
	if h.Get("X-Forwarded-Port") == "" {
		if _, named, err := net.SplitHostPort(in.Host); err == nil && named != "" {
			port = named
		}
		h.Set("X-Forwarded-Port", port)
	}
}

// dropLookalikes removes X_Forwarded_For and the like: CGI, WSGI and Rack hand
// them to apps under the same name as the true ones.
func dropLookalikes(h http.Header) {
	for name := range h {
		if !strings.Contains(name, "_") {
			continue
		}
		plain := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if plain == "X-Forwarded-For" || slices.Contains(strangers, plain) || slices.Contains(ours, plain) || slices.Contains(never, plain) {
			delete(h, name)
		}
	}
}

func upgradesToHTTP2(h http.Header) bool {
	for _, v := range h["Upgrade"] {
		if strings.Contains(strings.ToLower(v), "h2c") {
			return true
		}
	}
	return false
}
