package local

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// maxForwarded bounds the answer of a forwarded request, in bytes.
const maxForwarded = 8 << 20

// forward hands a request to another node, or serves it here when the name
// is this node's own.
func (h *handler) forward(rec *record, r *http.Request, rt route, name string) {
	if rt.kind == hereOnly {
		writeError(rec, Errorf(CodeInvalid, "run the command on that machine, without --node",
			"this is for the machine itself: it can only be set up or attached from itself, and give out its keys"))
		return
	}
	if o, ok := r.Context().Value(originKey{}).(string); ok {
		writeError(rec, Errorf(CodeInvalid, "", "a request from %s cannot be forwarded again", o))
		return
	}
	info, err := h.backend.Info(r.Context())
	if err != nil {
		writeError(rec, err)
		return
	}
	if name == info.Name || name == string(info.ID) || name == info.Address {
		rt.serve(rec, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		writeError(rec, Errorf(CodeInvalid, "", "cannot read the request: %v", err))
		return
	}
	resp, err := h.backend.Forward(r.Context(), name, ForwardRequest{
		Method: r.Method, Path: r.URL.RequestURI(), Body: body,
		Origin:  origin(r.Context()) + " on " + info.Name,
		Command: clip(r.Header.Get(HeaderCommand)),
	})
	if err != nil {
		writeError(rec, err)
		return
	}
	defer resp.Body.Close()
	rec.Header().Set("Content-Type", resp.ContentType)
	rec.WriteHeader(resp.Status)
	if resp.Status >= 300 {
		rec.err = fmt.Errorf("node %s answered with status %d", name, resp.Status)
	}
	copyFlushing(rec, resp.Body)
}

// copyFlushing passes a stream on as it comes. Errors mean that one of the
// two ends went away: the client sees a stream without a result.
func copyFlushing(w http.ResponseWriter, r io.Reader) {
	rc := http.NewResponseController(w)
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
			_ = rc.Flush()
		}
		if err != nil {
			return
		}
	}
}

// Invoke serves a forwarded request with h, a handler of [NewHandler], and
// returns its answer when it is complete. It is what a node does with a
// request that came over RPC; whether the caller may ask is checked before.
// An answer over 8 MiB is an error.
func Invoke(ctx context.Context, h http.Handler, r ForwardRequest) (ForwardResponse, error) {
	ctx = context.WithValue(ctx, originKey{}, r.Origin)
	req, err := http.NewRequestWithContext(ctx, r.Method, r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return ForwardResponse{}, Errorf(CodeInvalid, "", "forwarded request: %v", err)
	}
	req.Header.Set(HeaderCommand, r.Command)
	w := &bufferedAnswer{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(w, req)
	if w.overflow {
		return ForwardResponse{}, Errorf(CodeInternal, "", "the answer is larger than %d bytes", maxForwarded)
	}
	return ForwardResponse{
		Status: w.status, ContentType: w.header.Get("Content-Type"), Body: io.NopCloser(&w.body),
	}, nil
}

// bufferedAnswer is a bounded http.ResponseWriter in memory.
type bufferedAnswer struct {
	header   http.Header
	status   int
	body     bytes.Buffer
	overflow bool
}

func (b *bufferedAnswer) Header() http.Header    { return b.header }
func (b *bufferedAnswer) WriteHeader(status int) { b.status = status }

func (b *bufferedAnswer) Write(p []byte) (int, error) {
	if b.body.Len()+len(p) > maxForwarded {
		b.overflow = true
		return 0, io.ErrShortWrite
	}
	return b.body.Write(p)
}
