package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/stackato/stackato/wire/rpcerr"
)

// Call calls a method of the target. Without a deadline in ctx the method's
// Timeout applies. Errors are *[rpcerr.Error]; one with Retryable had no
// effect on the other side. It never retries by itself.
func Call[Req, Resp any](ctx context.Context, c *Client, t Target, m Method[Req, Resp], req *Req) (*Resp, error) {
	start := time.Now()
	resp, err := call(ctx, c, t, m, req)
	if c.cfg.Observe != nil {
		c.cfg.Observe(Event{Method: m.Name, Code: rpcerr.Of(err), Duration: time.Since(start)})
	}
	return resp, err
}

func call[Req, Resp any](ctx context.Context, c *Client, t Target, m Method[Req, Resp], req *Req) (*Resp, error) {
	ctx, cancel := withDeadline(ctx, orDefault(m.Timeout, DefaultTimeout))
	defer cancel()
	defer context.AfterFunc(c.closing, cancel)()
	answer, err := c.post(ctx, t, m.Name, req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	limit := orDefault(m.MaxResponse, DefaultMaxResponse)
	data, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
	if err != nil {
		return nil, c.explain(ctx, t, err)
	}
	if int64(len(data)) > limit {
		return nil, rpcerr.New(rpcerr.Internal, "the response of %s to %s is larger than %d bytes", t, m.Name, limit)
	}
	resp := new(Resp)
	if err := json.Unmarshal(data, resp); err != nil { // lenient: a newer node may say more
		return nil, rpcerr.New(rpcerr.Internal, "the response of %s to %s cannot be read: %w", t, m.Name, err)
	}
	return resp, nil
}

// post sends a request and returns the answer if it is a success.
func (c *Client) post(ctx context.Context, t Target, method string, req any) (*http.Response, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode the request of %s: %w", method, err)
	}
	if c.closing.Err() != nil {
		return nil, rpcerr.New(rpcerr.Unavailable, "call to %s: this node is stopping", t).WithRetryable(false)
	}
	u := url.URL{Scheme: "https", Host: t.poolKey(), Path: pathPrefix + method}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, rpcerr.New(rpcerr.Invalid, "call %s on %s: %w", method, t, err)
	}
	r.Host = "node"
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(requestIDHeader, checkedRequestID(RequestID(ctx)))
	if deadline, ok := ctx.Deadline(); ok {
		r.Header.Set(timeoutHeader, strconv.FormatInt(max(1, time.Until(deadline).Milliseconds()), 10))
	}
	answer, err := c.current().RoundTrip(r)
	if err != nil {
		return nil, c.explain(ctx, t, err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close()
	return nil, c.readError(ctx, t, method, answer)
}

func (c *Client) readError(ctx context.Context, t Target, method string, answer *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxErrorBody))
	if err != nil {
		return c.explain(ctx, t, err)
	}
	out := new(rpcerr.Error)
	if json.Unmarshal(data, out) != nil || out.ErrCode == "" {
		return rpcerr.New(rpcerr.Internal, "%s answers %s with status %d and no reason", t, method, answer.StatusCode)
	}
	if !out.ErrCode.Known() {
		out.ErrCode = rpcerr.Internal
	}
	return out
}

// explain turns an error of the connection into one that says what is known
// about the call. Refusals of the other side's certificate keep their code.
func (c *Client) explain(ctx context.Context, t Target, err error) error {
	var (
		known *rpcerr.Error
		dial  *dialError
	)
	switch {
	case errors.As(err, &known):
		return known
	case c.closing.Err() != nil:
		return rpcerr.New(rpcerr.Deadline, "call to %s: this node is stopping, the outcome is unknown", t)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return rpcerr.New(rpcerr.Deadline, "node %s did not answer in time: %w", t, context.DeadlineExceeded)
	case ctx.Err() != nil:
		return rpcerr.New(rpcerr.Deadline, "call to %s: %w", t, ctx.Err())
	case errors.As(err, &dial):
		return rpcerr.New(rpcerr.Unavailable, "node %s cannot be reached: %w", t, err)
	}
	return rpcerr.New(rpcerr.Deadline, "the connection to node %s was lost, the outcome is unknown: %w", t, &lostError{err})
}

// ErrLost is in errors of calls whose outcome is unknown because the connection
// broke, or the other node fell silent, while there was time left.
var ErrLost = errors.New("the connection was lost")

// lostError is an error of the connection that is ErrLost.
type lostError struct{ err error }

func (e *lostError) Error() string        { return e.err.Error() }
func (e *lostError) Unwrap() error        { return e.err }
func (e *lostError) Is(target error) bool { return target == ErrLost }

func withDeadline(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
