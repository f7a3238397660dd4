package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/stackato/stackato/router/table"
)

// exchange is a request on its way through the proxy. It belongs to the
// request's goroutine.
type exchange struct {
	in        *http.Request
	start     time.Time
	id        string // X-Vcap-Request-Id
	client    string // address of the client, as far as it is known for certain
	trusted   bool   // the peer is one of TrustedProxies
	forwarded string // X-Forwarded-For as sent on
	proto     string // X-Forwarded-Proto as sent on

	route   *table.Route
	choice  table.Choice
	backend *table.Backend // picked, not yet released
	last    *table.Backend // the last one that was picked
	body    *requestBody
	failure string // X-Cf-RouterError
	late    bool   // the backend did not answer in time

	tried      [8]*table.Backend
	appStart   time.Time
	status     int
	bytesSent  int64
	hasSession bool // the client has a session that may stick
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	return ctx.Value(exchangeKey{}).(*exchange)
}

// ServeHTTP answers a request. It is the whole chain in order.
func (p *Proxy) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	p.active.Add(1)
	defer p.active.Add(-1)
	x := &exchange{in: r, start: time.Now(), id: uuid.NewString()}
	w := &responseWriter{ResponseWriter: rw, exchange: x}
	if r.ProtoMajor > 1 {
		w.bound(p.cfg.Stall)
	}
	defer p.finish(w, x) // also when the proxy panics to cut a response off
	w.Header().Set("X-Vcap-Request-Id", x.id)
	p.identify(x)

	if !p.accept(w, x) || !p.find(w, x) || !p.readBody(w, x) {
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	if x.body != nil {
		r.Body = x.body.attempt()
	}
	p.reverse.ServeHTTP(w, r)
}

// accept refuses what no backend is to see.
func (p *Proxy) accept(w http.ResponseWriter, x *exchange) bool {
	switch r := x.in; {
	case r.Host == "":
		p.refuse(w, x, http.StatusBadRequest, "empty_host", "Request had empty Host header")
	case r.Method == http.MethodConnect:
		p.refuse(w, x, http.StatusMethodNotAllowed, "connect_refused", "CONNECT is not supported.")
	default:
		return true
	}
	return false
}

// find looks the route up.
func (p *Proxy) find(w http.ResponseWriter, x *exchange) bool {
	r := x.in
	x.route = p.cfg.Table.Lookup(r.Host, r.URL.EscapedPath())
	switch {
	case x.route != nil:
	case !p.cfg.Table.Ready():
		w.Header().Set("Retry-After", "1")
		p.refuse(w, x, http.StatusServiceUnavailable, "no_routes", "This router has just started and does not know its routes yet.")
		return false
	default:
		w.Header().Set("Cache-Control", "public,max-age=2")
		p.refuse(w, x, http.StatusNotFound, "unknown_route", fmt.Sprintf("Requested route ('%s') does not exist.", r.Host))
		return false
	}
	x.choice.MaxInFlight = max(p.cfg.BackendRequests, 0)
	if x.route.System {
		x.choice.MaxInFlight = 0
		return true
	}
	x.choice.Sticky, x.hasSession = sticky(r.Header)
	if named := r.Header.Get("X-Cf-App-Instance"); named != "" {
		app, index, ok := parseInstance(named)
		if !ok {
			p.refuse(w, x, http.StatusBadRequest, "invalid_cf_app_instance_header", "Invalid X-CF-App-Instance Header")
			return false
		}
		x.choice.App, x.choice.Index, x.choice.Sticky = app, index, ""
	}
	return true
}

// parseInstance reads "APP-GUID:INDEX".
func parseInstance(s string) (app string, index int, ok bool) {
	app, number, found := strings.Cut(s, ":")
	index, err := strconv.Atoi(number)
	return app, index, found && app != "" && err == nil && index >= 0
}

// finish lets the backend go and writes the access log.
func (p *Proxy) finish(w *responseWriter, x *exchange) {
	if x.backend != nil {
		x.backend.Release()
	}
	if x.body != nil {
		x.body.leave(w) // a transport may still be reading
	}
	w.end()
	end := time.Now()
	if x.status == 0 {
		x.status = statusCancelled // the client went away before anything was written
	}
	p.metrics.finished(x, end)
	if p.lines != nil {
		p.lines.add(p.record(x, end))
	}
}

// modifyResponse completes the header of an app's response.
func (p *Proxy) modifyResponse(res *http.Response) error {
	x := exchangeOf(res.Request.Context())
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.status = res.StatusCode // ReverseProxy writes it past the ResponseWriter
	}
	res.Header.Del("X-Vcap-Request-Id") // ServeHTTP has set the true one
	if !x.route.System {
		res.Header.Del("X-Cf-Routererror") // only routers say this
		x.stick(res)
	}
	return nil
}

// fail answers a request that got no response.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	host := x.in.Host
	switch {
	case x.body != nil && x.body.failed() != nil:
		p.refuseBody(w, x, x.body.failed())
	case r.Context().Err() != nil && errors.Is(err, context.Canceled):
		p.refuse(w, x, statusCancelled, "client_gone", "The client closed the connection.")
	case errors.Is(err, table.ErrNoSuch):
		p.refuse(w, x, http.StatusBadRequest, "unknown_route",
			fmt.Sprintf("Requested instance ('%d') with guid ('%s') does not exist for route ('%s')", x.choice.Index, x.choice.App, host))
	case errors.Is(err, table.ErrBusy):
		p.refuse(w, x, http.StatusServiceUnavailable, "Connection Limit Reached",
			fmt.Sprintf("Requested route ('%s') has reached the connection limit.", host))
	case errors.Is(err, table.ErrNoBackend):
		w.Header().Set("Cache-Control", "public,max-age=2")
		p.refuse(w, x, http.StatusServiceUnavailable, "no_endpoints", fmt.Sprintf("Requested route ('%s') has no available endpoints.", host))
	case x.late:
		p.refuse(w, x, http.StatusGatewayTimeout, "endpoint_timeout", "Registered endpoint did not answer in time.")
	default:
		p.log.Debug("no backend answered", "host", host, "request_id", x.id, "err", err)
		p.refuse(w, x, http.StatusBadGateway, "endpoint_failure", "Registered endpoint failed to handle the request.")
	}
}
