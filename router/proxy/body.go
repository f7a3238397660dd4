package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

var errAbandoned = errors.New("another attempt has the request body")

// requestBody is the body of a request that may be tried on several backends. A
// small one is at hand before the first; another is read from the client as a
// backend takes it, and then there is no second attempt.
type requestBody struct {
	small bool
	data  []byte // of a small one
	read  atomic.Int64

	src io.Reader // of a streamed one

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
	x.body = &requestBody{src: r.Body}
	if r.ContentLength < 0 || r.ContentLength > p.cfg.SmallBody {
		return true
	}
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(p.cfg.BodyTimeout)) // not there in tests with a recorder
	data := bytes.NewBuffer(make([]byte, 0, min(r.ContentLength, 4<<10)+bytes.MinRead))
	_, err := io.Copy(data, r.Body)
	x.body.read.Store(int64(data.Len()))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		p.refuse(w, x, http.StatusRequestTimeout, "body_timeout", "The request's body did not come in time.")
		return false
	case err != nil:
		w.Header().Set("Connection", "close")
		p.refuse(w, x, http.StatusBadRequest, "bad_body", "The request's body could not be read.")
		return false
	}
	_ = deadline.SetReadDeadline(time.Time{})
	x.body.small, x.body.data, x.body.src = true, data.Bytes(), nil
	r.Header.Del("Expect") // has been answered
	return true
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
	n, err := b.src.Read(p)
	b.read.Add(int64(n))
	return n, err
}

func (s *streamedBody) Close() error { return nil }
