package rpc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/stackato/stackato/wire/rpcerr"
)

// RawMethod declares a call that carries a stream of bytes beside its request,
// its response, or both: blobs, which must not sit in memory. Request and
// response travel in headers and are small (8 KiB of JSON).
type RawMethod[Req, Resp any] struct {
	Name    string    // as Method.Name
	Callers CallerSet // as Method.Callers
	// Idle is how long the stream may stand still. DefaultTimeout if zero.
	Idle time.Duration
	// MaxBody bounds the bytes sent with the request; 0: none may be sent.
	MaxBody int64
}

const (
	rawRequestHeader  = "Stackato-Raw-Request"
	rawResponseHeader = "Stackato-Raw-Response"
	maxRawHeader      = 8 << 10
)

// HandleRaw registers the handler of a raw method. body is what the caller
// sends; it fails when the caller goes away or sends more than MaxBody, so
// that half a blob is never taken for a whole one. The returned stream, which
// may be nil, is sent to the caller and closed.
func HandleRaw[Req, Resp any](s *Server, m RawMethod[Req, Resp],
	fn func(ctx context.Context, c Caller, req *Req, body io.Reader) (*Resp, io.ReadCloser, error),
) {
	idle := orDefault(m.Idle, DefaultTimeout)
	s.register(&endpoint{
		info: MethodInfo{Name: m.Name, Callers: m.Callers, Stream: true, MaxBody: m.MaxBody},
		raw: func(ctx context.Context, w http.ResponseWriter, r *http.Request, c Caller) error {
			req := new(Req)
			if err := readRawHeader(r.Header.Get(rawRequestHeader), req); err != nil {
				return err
			}
			control := http.NewResponseController(w)
			body := &idleReader{http.MaxBytesReader(w, r.Body, m.MaxBody), control, idle}
			resp, out, err := fn(ctx, c, req, body)
			if err != nil {
				return err
			}
			if out == nil {
				out = http.NoBody
			}
			defer out.Close()
			if resp == nil {
				resp = new(Resp)
			}
			head, err := rawHeader(resp)
			if err != nil {
				return err
			}
			control.SetReadDeadline(time.Time{})
			w.Header().Set(rawResponseHeader, head)
			w.Header().Set("Content-Type", "application/octet-stream")
			w.WriteHeader(http.StatusOK)
			return copyRaw(w, control, out, idle)
		},
	})
}

// copyRaw sends a stream. What fails in the middle breaks the connection's
// stream: the caller must not take the part for the whole.
func copyRaw(w http.ResponseWriter, control *http.ResponseController, out io.Reader, idle time.Duration) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := out.Read(buf)
		if n > 0 {
			control.SetWriteDeadline(time.Now().Add(idle))
			if _, werr := w.Write(buf[:n]); werr != nil {
				return answeredError{rpcerr.New(rpcerr.Unavailable, "the caller is gone: %w", werr)}
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			panic(http.ErrAbortHandler)
		}
	}
}

// CallRaw calls a raw method; body may be nil. The caller closes the stream
// that it gets; reading it fails if it was cut. ctx bounds the whole call,
// the stream included.
func CallRaw[Req, Resp any](ctx context.Context, c *Client, t Target, m RawMethod[Req, Resp], req *Req, body io.Reader) (*Resp, io.ReadCloser, error) {
	start := time.Now()
	resp, out, err := callRaw(ctx, c, t, m, req, body)
	if c.cfg.Observe != nil {
		c.cfg.Observe(Event{Method: m.Name, Code: rpcerr.Of(err), Duration: time.Since(start)})
	}
	return resp, out, err
}

func callRaw[Req, Resp any](ctx context.Context, c *Client, t Target, m RawMethod[Req, Resp], req *Req, body io.Reader) (*Resp, io.ReadCloser, error) {
	head, err := rawHeader(req)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	release := context.AfterFunc(c.closing, func() { cancel(context.Canceled) })
	end := func() { release(); cancel(nil) }
	if body == nil {
		body = http.NoBody
	}
	u := url.URL{Scheme: "https", Host: t.poolKey(), Path: pathPrefix + m.Name}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), io.NopCloser(body))
	if err != nil {
		end()
		return nil, nil, rpcerr.New(rpcerr.Invalid, "call %s on %s: %w", m.Name, t, err)
	}
	if body == http.NoBody {
		r.Body = http.NoBody
	}
	r.Host = "node"
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set(rawRequestHeader, head)
	r.Header.Set(requestIDHeader, checkedRequestID(RequestID(ctx)))
	answer, err := c.current().RoundTrip(r)
	if err != nil {
		err = c.explain(ctx, t, err)
		end()
		return nil, nil, err
	}
	if answer.StatusCode != http.StatusOK {
		err := c.readError(ctx, t, m.Name, answer)
		answer.Body.Close()
		end()
		return nil, nil, err
	}
	resp := new(Resp)
	data, err := base64.StdEncoding.DecodeString(answer.Header.Get(rawResponseHeader))
	if err == nil {
		err = json.Unmarshal(data, resp) // lenient: a newer node may say more
	}
	if err != nil {
		answer.Body.Close()
		end()
		return nil, nil, rpcerr.New(rpcerr.Internal, "the response of %s to %s cannot be read: %w", t, m.Name, err)
	}
	idle := orDefault(m.Idle, DefaultTimeout)
	watch := time.AfterFunc(idle, func() { cancel(errSilent) })
	watch.Stop() // runs during a Read only
	return resp, &rawBody{answer.Body, end, idle, watch}, nil
}

// rawBody is the stream of a response. It ends when nothing comes for idle.
type rawBody struct {
	io.ReadCloser
	end   func()
	idle  time.Duration
	watch *time.Timer
}

func (b *rawBody) Read(p []byte) (int, error) {
	b.watch.Reset(b.idle)
	n, err := b.ReadCloser.Read(p)
	b.watch.Stop() // a slow reader is no silent sender
	return n, err
}

func (b *rawBody) Close() error {
	b.watch.Stop()
	err := b.ReadCloser.Close()
	b.end()
	return err
}

// idleReader moves the connection's read deadline on while bytes come.
type idleReader struct {
	r       io.Reader
	control *http.ResponseController
	idle    time.Duration
}

func (i *idleReader) Read(p []byte) (int, error) {
	i.control.SetReadDeadline(time.Now().Add(i.idle))
	return i.r.Read(p)
}

func rawHeader(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	if len(data) > maxRawHeader {
		return "", rpcerr.New(rpcerr.Invalid, "the request has %d bytes, at most %d fit beside a stream", len(data), maxRawHeader)
	}
	return base64.StdEncoding.EncodeToString(data), nil
}

func readRawHeader(text string, v any) error {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return rpcerr.New(rpcerr.Invalid, "request: %w", err)
	}
	return decodeStrict(data, v)
}
