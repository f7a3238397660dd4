package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errAbandoned = errors.New("another attempt has the request body")
	errStalled   = errors.New("the client has stopped in the middle of the request's body")
)

// requestBody is the body of a request that may be tried on several backends. A
// small one is at hand before the first; another is read from the client as a
// backend takes it, and then there is no second attempt.
type requestBody struct {
	small bool
	data  []byte // of a small one
	read  atomic.Int64

	src  io.Reader // of a streamed one
	wait patience  // for the client
	err  atomic.Pointer[error]

	mu      sync.Mutex
	current int  // the attempt that may read
	used    bool // one has
}

// readBody prepares the request's body. A small one is read whole: a slow client
// then occupies the router only, and the request can go to another backend.
func (p *Proxy) readBody(w http.ResponseWriter, x *exchange) bool {
	r := x.in
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return true
	}
	deadline := http.NewResponseController(w)
	x.body = &requestBody{src: r.Body}
	x.body.wait.limit = p.cfg.Stall
	x.body.wait.end = func() { _ = deadline.SetReadDeadline(aLongTimeAgo) }
	if r.ContentLength < 0 || r.ContentLength > p.cfg.SmallBody {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			x.body.wait.release() // a stream of messages: they come when they come
		}
		return true
	}
	_ = deadline.SetReadDeadline(time.Now().Add(p.cfg.BodyTimeout)) // not there in tests with a recorder
	data := bytes.NewBuffer(make([]byte, 0, min(r.ContentLength, 4<<10)+bytes.MinRead))
	_, err := io.Copy(data, r.Body)
	x.body.read.Store(int64(data.Len()))
	if err != nil {
		p.refuseBody(w, x, err)
		return false
	}
	_ = deadline.SetReadDeadline(time.Time{})
	x.body.small, x.body.data, x.body.src = true, data.Bytes(), nil
	r.Header.Del("Expect") // has been answered
	return true
}

// refuseBody answers a request whose body did not come as it should.
func (p *Proxy) refuseBody(w http.ResponseWriter, x *exchange, err error) {
	if x.in.ProtoMajor == 1 { // HTTP/2 ends the stream alone
		w.Header().Set("Connection", "close")
	}
	var broken *net.OpError
	switch {
	case errors.Is(err, errStalled), errors.Is(err, os.ErrDeadlineExceeded):
		p.refuse(w, x, http.StatusRequestTimeout, "body_timeout", "The request's body did not come in time.")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &broken):
		p.refuse(w, x, statusCancelled, "client_gone", "The client closed the connection.")
	default:
		p.refuse(w, x, http.StatusBadRequest, "bad_body", "The request's body could not be read.")
	}
}

// attempt returns the body for the next attempt.
func (b *requestBody) attempt() io.ReadCloser {
	if b.small {
		return io.NopCloser(bytes.NewReader(b.data))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.current++
	return &streamedBody{body: b, number: b.current}
}

// again is a http.Request's GetBody.
func (b *requestBody) again() (io.ReadCloser, error) { return b.attempt(), nil }

// abandon takes the body from the last attempt and reports whether it is still
// whole.
func (b *requestBody) abandon() bool {
	if b.small {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.current++
	return !b.used
}

// answered says that the backend has begun to answer. From then on silence is
// no sign of a client that is stuck: both may go on in turns.
func (b *requestBody) answered() {
	if !b.small {
		b.wait.release()
	}
}

// failed returns why the client's body broke off; nil if it did not.
func (b *requestBody) failed() error {
	if err := b.err.Load(); err != nil {
		return *err
	}
	return nil
}

// leave is called at the end of the exchange. A transport that still waits for
// the client holds the body, and net/http's server would wait for it.
func (b *requestBody) leave(w http.ResponseWriter) {
	b.abandon()
	if !b.small && b.wait.busy() {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(b.wait.limit))
	}
}

// streamedBody is the client's body for one attempt. Closing it does nothing:
// net/http's server closes the body at the end.
type streamedBody struct {
	body   *requestBody
	number int
}

func (s *streamedBody) Read(p []byte) (int, error) {
	b := s.body
	b.mu.Lock()
	if b.current != s.number {
		b.mu.Unlock()
		return 0, errAbandoned
	}
	b.used = true
	b.mu.Unlock()
	b.wait.begin()
	n, err := b.src.Read(p)
	stalled := b.wait.done()
	b.read.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		if stalled {
			err = errStalled
		}
		b.err.CompareAndSwap(nil, &err)
	}
	return n, err
}

func (s *streamedBody) Close() error { return nil }
