package rpc

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// serveHTTP answers one call: who is it, may it, what does it want, do it.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if !s.begin() {
		s.fail(w, rpcerr.New(rpcerr.Unavailable, "this node is stopping"))
		return
	}
	defer s.calls.Done()

	id := checkedRequestID(r.Header.Get(requestIDHeader))
	w.Header().Set(requestIDHeader, id)
	e, caller, err := s.admit(r)
	caller.RequestID = id
	if err == nil {
		err = s.invoke(w, r.WithContext(WithRequestID(r.Context(), id)), e, caller)
	}
	name := "unknown"
	if e != nil {
		name = e.info.Name
	}
	if err != nil && !errors.Is(err, errAnswered) {
		s.fail(w, s.wireError(err, name, caller))
	}
	if s.cfg.Observe != nil {
		var answered answeredError
		if errors.As(err, &answered) {
			err = answered.err
		}
		s.cfg.Observe(Event{Server: true, Method: name, Code: rpcerr.Of(err), Duration: time.Since(start)})
	}
}

// begin counts a call, unless the server is stopping.
func (s *Server) begin() bool {
	s.callsMu.Lock()
	defer s.callsMu.Unlock()
	if s.stopping.Err() != nil {
		return false
	}
	s.calls.Add(1)
	return true
}

// admit finds the method and decides whether this caller may call it. Nothing
// of the body is read before.
func (s *Server) admit(r *http.Request) (*endpoint, Caller, error) {
	p, ok := r.Context().Value(peerKey{}).(*peer)
	if !ok || p == nil {
		return nil, Caller{}, rpcerr.New(rpcerr.Unavailable, "the connection is closing")
	}
	if !p.known() && !s.limit.allow(p.remote, s.cfg.Credentials.Now()) {
		return nil, Caller{}, rpcerr.New(rpcerr.Exhausted, "too many calls from %s", p.remote).WithHint("wait a few seconds")
	}
	caller, err := s.identify(p)
	if err != nil {
		return nil, caller, err
	}
	name, ok := strings.CutPrefix(r.URL.Path, pathPrefix)
	e := s.endpoints[name]
	if !ok || e == nil || r.Method != http.MethodPost {
		return nil, caller, rpcerr.New(rpcerr.UnsupportedVersion, "this node does not know the method %.80q", name).
			WithHint("the two nodes run different versions of Stackato: upgrade the older one")
	}
	return e, caller, e.allows(caller)
}

func (e *endpoint) allows(c Caller) error {
	switch {
	case e.info.Callers.Has(c.Kinds):
		return nil
	case c.Kinds == Anonymous:
		return rpcerr.New(rpcerr.Unauthenticated, "%s needs a node certificate", e.info.Name).
			WithHint("join the cluster first: stackato-agent join")
	case c.Kinds == Expired:
		return rpcerr.New(rpcerr.Unauthenticated, "the certificate of node %s expired on %s", c.label(), c.Identity.NotAfter.UTC().Format(time.RFC3339)).
			WithHint("the node has to renew it first")
	}
	return rpcerr.New(rpcerr.Denied, "%s may be called by %s; node %s is %s", e.info.Name, e.info.Callers, c.label(), c.Kinds)
}

// identify says who a peer is at this moment.
func (s *Server) identify(p *peer) (Caller, error) {
	c := Caller{Remote: p.remote}
	switch {
	case p.anonymous:
		c.Kinds = Anonymous
		return c, nil
	case p.err != nil:
		return c, rpcerr.New(rpcerr.Unauthenticated, "%w", p.err)
	}
	creds := s.cfg.Credentials
	trusted := slices.ContainsFunc(creds.Roots(), func(r *x509.Certificate) bool { return pki.Digest(r) == p.identity.Issuer })
	if !trusted {
		return c, rpcerr.New(rpcerr.Unauthenticated, "the CA that signed the certificate is not trusted any more")
	}
	c.Identity = p.identity
	c.ID = p.identity.ID
	n, ok := s.cfg.Members.Lookup(c.ID)
	if !ok {
		return c, errNotMember(c.ID)
	}
	c.Node = n
	if creds.Now().After(p.identity.NotAfter) {
		c.Kinds = Expired
		return c, nil
	}
	c.Kinds = s.kindsOf(n)
	return c, nil
}

func errNotMember(id node.ID) error {
	return rpcerr.New(rpcerr.Denied, "node %s does not belong to the cluster", id).
		WithHint("it was removed: delete its data directory and join again")
}

func (s *Server) kindsOf(n node.Node) CallerSet {
	kinds := Member
	if n.Roles.Has(node.Controller) {
		kinds |= Controller
	}
	if n.ID == s.cfg.Members.Primary() {
		kinds |= Primary
	}
	if n.ID == s.self() {
		kinds |= Self
	}
	return kinds
}

// self is this node's id as its own certificate says.
func (s *Server) self() node.ID {
	cert := s.cfg.Credentials.Certificate()
	if cert == nil || cert.Leaf == nil {
		return ""
	}
	return node.ID(cert.Leaf.Subject.CommonName)
}

// invoke reads the request, runs the handler and writes the response.
func (s *Server) invoke(w http.ResponseWriter, r *http.Request, e *endpoint, c Caller) (err error) {
	if e.raw != nil {
		return s.invokeRaw(w, r, e, c)
	}
	timeout := DefaultTimeout
	if !e.info.Stream {
		timeout = callTimeout(r, e.info.Timeout)
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	control := http.NewResponseController(w)
	control.SetReadDeadline(deadline) // of the body; without effect once it is read
	body, err := readBody(w, r, e.info.MaxBody)
	if err != nil {
		return err
	}
	if e.info.Stream {
		return s.serveStream(w, r, e, c, body)
	}
	resp, err := s.guard(e, c, func() (any, error) { return e.call(ctx, c, body) })
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return rpcerr.New(rpcerr.Deadline, "%s was not done within %s: %w", e.info.Name, timeout.Round(time.Millisecond), err)
		}
		return err
	}
	data, err := json.Marshal(resp)
	if err != nil {
		return fmt.Errorf("encode the response of %s: %w", e.info.Name, err)
	}
	control.SetWriteDeadline(time.Now().Add(DefaultTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.Write(data) // an error means that the caller is gone
	return nil
}

// invokeRaw runs a raw method, which reads and writes by itself.
func (s *Server) invokeRaw(w http.ResponseWriter, r *http.Request, e *endpoint, c Caller) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	_, err := s.guard(e, c, func() (any, error) { return nil, e.raw(ctx, w, r, c) })
	return err
}

// guard turns a panic of a handler into an error; the stack is logged.
func (s *Server) guard(e *endpoint, c Caller, fn func() (any, error)) (resp any, err error) {
	defer func() {
		if r := recover(); r != nil {
			if r == http.ErrAbortHandler { //nolint:errorlint // the very value, as in net/http
				panic(r)
			}
			s.log.Error("handler panicked", "method", e.info.Name, "caller", c.label(), "request_id", c.RequestID,
				"panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			resp, err = nil, rpcerr.New(rpcerr.Internal, "%s failed on this node, request %s", e.info.Name, c.RequestID).
				WithHint("the node's log has the reason: look for the request id")
		}
	}()
	return fn()
}

// callTimeout is the caller's own limit, at most the method's.
func callTimeout(r *http.Request, limit time.Duration) time.Duration {
	ms, err := strconv.ParseInt(r.Header.Get(timeoutHeader), 10, 64)
	if err != nil || ms <= 0 || ms >= limit.Milliseconds() {
		return limit
	}
	return time.Duration(ms) * time.Millisecond
}

// wireError decides what a caller gets to see. Inner details go to members
// only; for others they are logged here.
func (s *Server) wireError(err error, method string, c Caller) *rpcerr.Error {
	out := rpcerr.From(err)
	var rule *node.RuleError
	if errors.As(err, &rule) && out.ErrCode == rpcerr.Internal {
		out.ErrCode, out.Message, out.ErrHint = rpcerr.Precondition, rule.Reason, rule.Hint
	}
	if out.ErrCode == rpcerr.Internal && !c.Kinds.Has(Member) {
		s.log.Error("call failed", "method", method, "caller", c.label(), "remote", c.Remote, "request_id", c.RequestID, "err", err)
		return rpcerr.New(rpcerr.Internal, "%s failed on this node, request %s", method, c.RequestID).
			WithHint("the node's log has the reason: look for the request id")
	}
	return out
}

// fail writes an error as the response.
func (s *Server) fail(w http.ResponseWriter, e *rpcerr.Error) {
	data, err := json.Marshal(e)
	if err != nil {
		data = []byte(`{"code":"internal","message":"error could not be encoded"}`)
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(DefaultTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.ErrCode.HTTPStatus())
	w.Write(data) // an error means that the caller is gone
}
