package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stackato/stackato/wire/logs"
)

// Bounds of what a line of the access log takes from a request, in bytes.
const (
	maxHeaderInLog = 1000
	maxURIInLog    = 20000
)

// record is a line of the access log in gorouter's format, and the app it is
// about.
type record struct {
	line []byte
	app  string // GUID; "" for none
	at   time.Time
}

func (p *Proxy) record(x *exchange, end time.Time) record {
	r, in := record{at: end}, x.in
	l := line(make([]byte, 0, 512))
	if host := clipped(in.Host, maxHeaderInLog); strings.ContainsAny(host, " \"\\[]") {
		l = l.quoted(host) // none of a route: it must not look like the rest of a line
	} else {
		l = append(l, host...)
	}
	l = append(l, " - ["...)
	l = x.start.UTC().AppendFormat(l, "2006-01-02T15:04:05.000000000Z")
	l = append(l, "] "...)
	l = l.quoted(in.Method + " " + clipped(in.URL.RequestURI(), maxURIInLog) + " " + in.Proto).space()
	l = strconv.AppendInt(l, int64(x.status), 10)
	l = l.space()
	var received int64
	if x.body != nil {
		received = x.body.read.Load()
	}
	l = strconv.AppendInt(l, received, 10)
	l = l.space()
	l = strconv.AppendInt(l, x.bytesSent, 10)
	l = l.space()
	l = l.header(in.Header, "Referer").space().header(in.Header, "User-Agent").space().orDash(in.RemoteAddr).space()
	var address, index, instance string
	if b := x.last; b != nil {
		address, r.app, instance = b.Address, b.AppGUID, b.AllocID
		if !b.System {
			index = strconv.Itoa(b.Index)
		}
	}
	l = l.orDash(address).space()
	l = l.field("x_forwarded_for", clipped(x.forwarded, maxHeaderInLog)).field("x_forwarded_proto", clipped(x.proto, maxHeaderInLog))
	l = l.field("vcap_request_id", x.id)
	total := end.Sub(x.start)
	l = append(l, "response_time:"...)
	l = l.seconds(total).space()
	l = append(l, "gorouter_time:"...)
	if x.appStart.IsZero() {
		l = l.orDash("")
	} else {
		l = l.seconds(x.appStart.Sub(x.start))
	}
	l = l.space()
	l = l.field("app_id", r.app).field("app_index", index).field("instance_id", instance)
	l = append(l, "x_cf_routererror:"...)
	r.line = l.orDash(x.failure)
	return r
}

// logLine is the record as a line of the app's log.
func (r record) logLine(instance string) logs.Line {
	message := r.line
	if len(message) > logs.MaxLine {
		message = message[:logs.MaxLine]
	}
	return logs.Line{Time: r.at.UnixNano(), AppGUID: r.app, SourceType: logs.SourceRouter, InstanceID: instance, Message: message}
}

// line grows by what is appended to it.
type line []byte

func (l line) space() line { return append(l, ' ') }

func (l line) quoted(s string) line { return strconv.AppendQuote(l, s) }

func (l line) orDash(s string) line {
	if s == "" {
		return append(l, `"-"`...)
	}
	return l.quoted(s)
}

func (l line) header(h http.Header, name string) line {
	return l.orDash(clipped(h.Get(name), maxHeaderInLog))
}

func (l line) field(name, value string) line {
	l = append(l, name...)
	l = append(l, ':')
	return l.orDash(value).space()
}

func (l line) seconds(d time.Duration) line { return strconv.AppendFloat(l, d.Seconds(), 'f', 6, 64) }

func clipped(s string, limit int) string {
	if len(s) > limit {
		return s[:limit] + "...TRUNCATED"
	}
	return s
}
