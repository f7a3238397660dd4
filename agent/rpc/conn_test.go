package rpc_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Only TLS 1.3 with one of our two protocols gets anywhere.
func TestOtherProtocolsAreClosed(t *testing.T) {
	c := newCluster(t, "c1")
	s := start(t, c.join(node.Base), registerEcho)
	dial := func(conf *tls.Config) error {
		conf.InsecureSkipVerify = true
		conn, err := tls.Dial("tcp", s.Addr().String(), conf)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp := make([]byte, 1)
		if _, err := conn.Read(resp); err != nil && !errors.Is(err, io.EOF) {
			return err
		} else if err == nil {
			return nil
		}
		return io.EOF
	}
	for name, conf := range map[string]*tls.Config{
		"TLS 1.2":  {MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}},
		"HTTP/1.1": {NextProtos: []string{"http/1.1"}},
		"no ALPN":  {},
	} {
		if err := dial(conf); err == nil {
			t.Errorf("%s: answered", name)
		}
	}
	resp, err := http.Get("http://" + s.Addr().String())
	if err == nil {
		resp.Body.Close()
		t.Error("plain HTTP: answered")
	}
}

func TestAnonymousConnectionsAreBounded(t *testing.T) {
	c := newCluster(t, "c1")
	s := start(t, c.join(node.Base), registerAll, func(cfg *rpc.Config) { cfg.AnonymousConns = 8 }) // 2 of one address
	call := func(cl *rpc.Client, kind rpc.CallerSet) error {
		_, err := rpc.Call(t.Context(), cl, s.target(), methods[kind], &rpc.Empty{})
		return err
	}
	open := []*rpc.Client{anonymous(t, c, c.ca.Digest()), anonymous(t, c, c.ca.Digest())}
	for _, cl := range open {
		if err := call(cl, rpc.Anonymous); err != nil {
			t.Fatal(err)
		}
	}
	late := anonymous(t, c, c.ca.Digest())
	if err := call(late, rpc.Anonymous); !errors.Is(err, rpcerr.Deadline) {
		t.Errorf("third connection: %v", err)
	}
	if err := call(client(t, c.join(node.Base)), rpc.Member); err != nil {
		t.Errorf("a member: %v", err)
	}
	open[0].Close()
	eventually(t, "a place falls free", func() bool { return call(late, rpc.Anonymous) == nil })
}

func TestAnonymousRateLimit(t *testing.T) {
	c := newCluster(t, "c1")
	s := start(t, c.join(node.Base), registerAll, func(cfg *rpc.Config) { cfg.AnonymousRate, cfg.AnonymousBurst = 1, 3 })
	anon, member := anonymous(t, c, c.ca.Digest()), client(t, c.join(node.Base))
	call := func(cl *rpc.Client, kind rpc.CallerSet) error {
		_, err := rpc.Call(t.Context(), cl, s.target(), methods[kind], &rpc.Empty{})
		return err
	}
	for range 3 {
		if err := call(anon, rpc.Anonymous); err != nil {
			t.Fatal(err)
		}
	}
	if err := call(anon, rpc.Anonymous); !errors.Is(err, rpcerr.Exhausted) || !rpcerr.Retryable(err) {
		t.Errorf("over the limit: %v", err)
	}
	if err := call(anonymous(t, c, c.ca.Digest()), rpc.Anonymous); !errors.Is(err, rpcerr.Exhausted) {
		t.Errorf("by a new connection: %v", err)
	}
	if err := call(member, rpc.Member); err != nil {
		t.Errorf("a member from the same address: %v", err)
	}
	c.advance(time.Second)
	if err := call(anon, rpc.Anonymous); err != nil {
		t.Errorf("a second later: %v", err)
	}
}
