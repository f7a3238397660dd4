package rpc_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/rpcerr"
)

type rawNote struct {
	Text string `json:"text"`
}

var (
	rawEcho = rpc.RawMethod[rawNote, rawNote]{Name: "test.raw-echo", Callers: rpc.Member, MaxBody: 8 << 20}
	rawCut  = rpc.RawMethod[rpc.Empty, rpc.Empty]{Name: "test.raw-cut", Callers: rpc.Member}
	rawCtl  = rpc.RawMethod[rpc.Empty, rpc.Empty]{Name: "test.raw-controllers", Callers: rpc.Controller}
)

// cutReader gives some bytes and then fails.
type cutReader struct{ left int }

func (c *cutReader) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errors.New("the disk is broken")
	}
	n := min(len(p), c.left)
	c.left -= n
	return n, nil
}

func registerRaw(s *rpc.Server) {
	rpc.HandleRaw(s, rawEcho, func(_ context.Context, c rpc.Caller, req *rawNote, body io.Reader) (*rawNote, io.ReadCloser, error) {
		if req.Text == "refuse" {
			return nil, nil, rpcerr.New(rpcerr.Conflict, "no")
		}
		data, err := io.ReadAll(body)
		if err != nil {
			return nil, nil, rpcerr.New(rpcerr.Invalid, "%w", err)
		}
		return &rawNote{string(c.ID)}, io.NopCloser(bytes.NewReader(data)), nil
	})
	rpc.HandleRaw(s, rawCut, func(context.Context, rpc.Caller, *rpc.Empty, io.Reader) (*rpc.Empty, io.ReadCloser, error) {
		return nil, io.NopCloser(&cutReader{1 << 20}), nil
	})
	rpc.HandleRaw(s, rawCtl, func(context.Context, rpc.Caller, *rpc.Empty, io.Reader) (*rpc.Empty, io.ReadCloser, error) {
		return nil, nil, nil
	})
}

func TestRawStreamsBothWays(t *testing.T) {
	c := newCluster(t, "raw")
	s := start(t, c.join(node.Base), registerRaw)
	other := c.join(node.Base)
	cl := client(t, other)
	sent := make([]byte, 3<<20)
	rand.Read(sent)
	resp, out, err := rpc.CallRaw(t.Context(), cl, s.target(), rawEcho, &rawNote{"hello"}, bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	got, err := io.ReadAll(out)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("got %d bytes, %v; want the %d that were sent", len(got), err, len(sent))
	}
	if resp.Text != string(other.id) {
		t.Errorf("caller is %q, want %q", resp.Text, other.id)
	}
}

func TestRawRefusals(t *testing.T) {
	c := newCluster(t, "raw")
	s := start(t, c.join(node.Base), registerRaw)
	cl := client(t, c.join(node.Base))
	_, _, err := rpc.CallRaw(t.Context(), cl, s.target(), rawEcho, &rawNote{"refuse"}, strings.NewReader("x"))
	if !errors.Is(err, rpcerr.Conflict) {
		t.Errorf("handler's error came as %v", err)
	}
	_, _, err = rpc.CallRaw(t.Context(), cl, s.target(), rawCtl, &rpc.Empty{}, nil)
	if !errors.Is(err, rpcerr.Denied) {
		t.Errorf("a method for controllers: %v, want denied", err)
	}
	_, _, err = rpc.CallRaw(t.Context(), cl, s.target(), rawEcho, &rawNote{}, io.LimitReader(zeros{}, 9<<20))
	if err == nil {
		t.Error("more bytes than MaxBody were taken")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A stream that breaks must not look like a whole one, on either side.
func TestRawCutIsAnError(t *testing.T) {
	c := newCluster(t, "raw")
	s := start(t, c.join(node.Base), registerRaw)
	cl := client(t, c.join(node.Base))
	_, out, err := rpc.CallRaw(t.Context(), cl, s.target(), rawCut, &rpc.Empty{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if n, err := io.Copy(io.Discard, out); err == nil {
		t.Errorf("%d bytes of a broken stream were taken for all", n)
	}
	_, _, err = rpc.CallRaw(t.Context(), cl, s.target(), rawEcho, &rawNote{}, &cutReader{1 << 20})
	if err == nil {
		t.Error("a broken upload was answered")
	}
}
