package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
)

// route is one line of a resource's route list.
type route struct {
	method, pattern string // of net/http.ServeMux, such as "/v3/apps/{guid}"
	// action says who may do it, for the documentation; the handler checks
	// it. "" is anyone, without a token.
	action auth.Action
	doc    string // one sentence
	handle func(*request) (response, error)
}

// response is the answer to a request. The zero status is 200.
type response struct {
	status int
	header http.Header
	body   any // as JSON; nil is no body
	// raw, if set, writes status and body itself.
	raw func(w http.ResponseWriter) error
}

// ok answers 200 with a body.
func ok(body any) (response, error) { return response{body: body}, nil }

// created answers 201 with a body.
func created(body any) (response, error) {
	return response{status: http.StatusCreated, body: body}, nil
}

// noContent answers 204.
func noContent() (response, error) { return response{status: http.StatusNoContent}, nil }

// serveRoutes is the chain of every request: request id, recovery, path,
// route, token, handler, answer.
func (a *API) serveRoutes(routes []route) http.Handler {
	mux := http.NewServeMux()
	for _, rt := range routes {
		mux.HandleFunc(strings.TrimSpace(rt.method+" "+rt.pattern), func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, rt) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { a.fail(w, cf.ErrUnknownRequest) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Vcap-Request-Id", a.requestID(r))
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler { //nolint:errorlint // a sentinel panic value
					panic(v)
				}
				a.Logger.Error("panic in an API handler", "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
				a.fail(w, cf.ErrServer)
			}
		}()
		r = withoutTrailingSlash(r)
		if path.Clean(r.URL.Path) != r.URL.Path {
			a.fail(w, cf.ErrUnknownRequest) // ServeMux would redirect
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// serve answers one request of a known route.
func (a *API) serve(w http.ResponseWriter, r *http.Request, rt route) {
	r.Body = http.MaxBytesReader(w, r.Body, a.bodyLimit(r))
	req, err := a.admit(w.Header(), r, rt.action != "")
	if err != nil {
		a.fail(w, err)
		return
	}
	resp, err := rt.handle(req)
	if err != nil {
		a.fail(w, err)
		return
	}
	if len(req.warnings) > 0 {
		w.Header().Set("X-Cf-Warnings", strings.Join(req.warnings, ","))
	}
	for k, v := range resp.header {
		w.Header()[k] = v
	}
	if resp.raw != nil {
		if err := resp.raw(w); err != nil {
			a.Logger.Warn("answer of the API broke off", "path", r.URL.Path, "error", err)
			panic(http.ErrAbortHandler) // the client must notice
		}
		return
	}
	a.write(w, resp)
}

// bodyLimit is the bound of a whole body; uploads are bounded by their
// handlers, part by part. Others read the body into memory, whatever its type
// is called.
func (a *API) bodyLimit(r *http.Request) int64 {
	if strings.HasSuffix(r.URL.Path, "/upload") && strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		return max(a.Limits.PackageSize, a.Limits.DropletSize, a.Limits.PackFileSize) + 64<<20
	}
	return a.Limits.Body
}

// bodies are buffers that answers were written into, up to keptBody bytes.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const keptBody = 1 << 20

func (a *API) write(w http.ResponseWriter, resp response) {
	if resp.status == 0 {
		resp.status = http.StatusOK
	}
	if resp.body == nil {
		w.WriteHeader(resp.status)
		return
	}
	buf := bodies.Get().(*bytes.Buffer)
	buf.Reset()
	defer func() {
		if buf.Cap() <= keptBody {
			bodies.Put(buf)
		}
	}()
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(resp.body); err != nil {
		a.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(resp.status)
	_, _ = w.Write(buf.Bytes())
}

// manyErrors is several errors of one request.
type manyErrors []*cf.Error

// Error joins the details.
func (l manyErrors) Error() string {
	details := make([]string, len(l))
	for i, e := range l {
		details[i] = e.Detail
	}
	return strings.Join(details, ", ")
}

// present returns what a client is shown of an error, at least one. An error
// that is not meant for clients is logged here.
func (a *API) present(err error) []cf.Error {
	var list manyErrors
	if errors.As(err, &list) && len(list) > 0 {
		out := make([]cf.Error, len(list))
		for i, e := range list {
			out[i] = *e
		}
		return out
	}
	var e *cf.Error
	if !errors.As(err, &e) {
		a.Logger.Error("API request failed", "error", err)
		e = cf.ErrServer
	}
	return []cf.Error{*e}
}

// apiError is cf.Error as clients read it.
type apiError struct {
	Code   int    `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func apiErrors(errs []cf.Error) []apiError {
	out := []apiError{}
	for _, e := range errs {
		out = append(out, apiError{e.Code, e.Title, e.Detail})
	}
	return out
}

func (a *API) fail(w http.ResponseWriter, err error) {
	errs := a.present(err)
	a.write(w, response{status: errs[0].Status, body: struct {
		Errors []apiError `json:"errors"`
	}{apiErrors(errs)}})
}

// requestID is the caller's request id, if it looks like one, and a new one.
func (a *API) requestID(r *http.Request) string {
	id := r.Header.Get("X-Vcap-Request-Id")
	if id == "" || len(id) > 200 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return a.NewGUID()
	}
	return id + "::" + a.NewGUID()
}

// withoutTrailingSlash serves "/v3/buildpacks/" as "/v3/buildpacks": cf sends
// such paths and follows no redirect with a body.
func withoutTrailingSlash(r *http.Request) *http.Request {
	if len(r.URL.Path) < 2 || !strings.HasSuffix(r.URL.Path, "/") {
		return r
	}
	u := *r.URL
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = strings.TrimRight(u.RawPath, "/")
	out := *r
	out.URL = &u
	return &out
}
