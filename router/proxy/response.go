package proxy

import (
	"net/http"
	"time"
)

// responseWriter notes what is written, and does not wait for ever for a client
// that takes nothing of it.
type responseWriter struct {
	http.ResponseWriter
	exchange *exchange
	wait     *patience // for a client that speaks HTTP/2; else nil
}

// bound limits the waiting of streams: the connection is alive while one of them
// stands still. With HTTP/1 the connection is all there is, and Proxy.Bound
// does it for nothing.
func (w *responseWriter) bound(limit time.Duration) {
	deadline := http.NewResponseController(w.ResponseWriter)
	w.wait = &patience{limit: limit, end: func() { _ = deadline.SetWriteDeadline(aLongTimeAgo) }}
}

// end is called when the handler is through; what is still buffered has so much
// time again.
func (w *responseWriter) end() {
	if w.wait != nil {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.wait.limit))
	}
}

// Unwrap lets http.ResponseController hijack.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *responseWriter) WriteHeader(code int) {
	if code >= 200 || code == http.StatusSwitchingProtocols {
		w.exchange.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *responseWriter) Write(b []byte) (int, error) {
	if w.exchange.status == 0 {
		w.exchange.status = http.StatusOK
	}
	if w.wait != nil {
		w.wait.begin()
		defer w.wait.done()
	}
	n, err := w.ResponseWriter.Write(b)
	w.exchange.bytesSent += int64(n)
	return n, err
}

// FlushError is what http.ResponseController calls.
func (w *responseWriter) FlushError() error {
	if w.wait != nil {
		w.wait.begin()
		defer w.wait.done()
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}
