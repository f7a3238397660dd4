package proxy

import (
	"fmt"
	"html"
	"net/http"
	"strings"
)

// statusCancelled is nginx's and gorouter's number for a client that went away.
const statusCancelled = 499

// refuse answers for the router itself: with Cloud Foundry's header and text, in
// HTML for browsers.
func (p *Proxy) refuse(w http.ResponseWriter, x *exchange, code int, failure, text string) {
	x.failure = failure
	p.metrics.refused.WithLabelValues(failure).Inc()
	h := w.Header()
	h.Set("X-Cf-Routererror", failure)
	h.Set("X-Vcap-Request-Id", x.id)
	h.Set("X-Content-Type-Options", "nosniff")
	reason := http.StatusText(code)
	if code == statusCancelled {
		reason = "Request Cancelled"
	}
	if !wantsHTML(x.in.Header) {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		fmt.Fprintf(w, "%d %s: %s\n", code, reason, text)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	h.Add("Vary", "Accept")
	w.WriteHeader(code)
	fmt.Fprintf(w, page, code, reason, code, reason, html.EscapeString(text), x.id)
}

// wantsHTML reports whether the client names HTML among what it takes, as
// browsers do and tools do not.
func wantsHTML(h http.Header) bool { return strings.Contains(h.Get("Accept"), "text/html") }

const page = `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>%d %s</title>
<style>body{font:16px/1.5 sans-serif;margin:15vh auto;max-width:36em;padding:0 1em;color:#222}h1{font-size:1.5em}small{color:#666}
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}</style></head>
<body><h1>%d %s</h1><p>%s</p><p><small>Request %s</small></p></body>
</html>
`
