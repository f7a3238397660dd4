package rpc

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/stackato/stackato/internal/closing"
	"github.com/stackato/stackato/wire/rpcerr"
)

// A Raft connection begins with the server's answer: two bytes of length, and
// that many bytes of an error in JSON. Length zero means welcome; the rest is
// Raft's. So the other side learns why it is refused.

// RaftListener is the listening half of what hashicorp/raft calls a stream
// layer; [Client.DialRaft] is the other half. Only members with the
// controller role get through it.
type RaftListener struct {
	*handoff
}

var _ net.Listener = (*RaftListener)(nil)

// Raft returns the listener for Raft connections. There is one per server; it
// works while the server runs. Connections wait a few seconds for Accept.
func (s *Server) Raft() *RaftListener { return s.raft }

// welcomeRaft lets a controller in and tells everybody else why not.
func (s *Server) welcomeRaft(ctx context.Context, conn *tls.Conn, p *peer) {
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	refusal := s.admitRaft(p)
	if refusal != nil {
		s.log.Warn("raft connection refused", "remote", p.remote, "node", p.identity.ID, "reason", refusal)
	}
	if err := writeHello(conn, rpcerr.From(refusal)); err != nil || refusal != nil {
		s.conns.remove(conn)
		conn.Close()
		return
	}
	conn.SetDeadline(time.Time{})
	if !s.raft.give(ctx, closing.Tell(conn, func() { s.conns.remove(conn) })) {
		s.conns.remove(conn)
		conn.Close()
	}
}

func (s *Server) admitRaft(p *peer) error {
	c, err := s.identify(p)
	switch {
	case err != nil && c.ID != "" && s.cfg.AdmitRaft != nil && s.unexpired(c) && s.cfg.AdmitRaft(c.Identity):
		return nil // not in our table, which may be the older one
	case err != nil:
		return err
	case !c.Kinds.Has(Controller):
		return rpcerr.New(rpcerr.Denied, "raft is for controllers; node %s is %s", c.label(), c.Kinds)
	}
	return nil
}

func (s *Server) unexpired(c Caller) bool { return !s.cfg.Credentials.Now().After(c.Identity.NotAfter) }

func writeHello(w io.Writer, refusal *rpcerr.Error) error {
	var body []byte
	if refusal != nil {
		var err error
		if body, err = json.Marshal(refusal); err != nil {
			return err
		}
		body = body[:min(len(body), 1<<16-1)]
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(body))), body...))
	return err
}

func readHello(r io.Reader) error {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n == 0 {
		return nil
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	refusal := new(rpcerr.Error)
	if err := json.Unmarshal(body, refusal); err != nil {
		return errors.New("refused, without a readable reason")
	}
	return refusal
}

// DialRaft opens a Raft connection to a controller. With a Target.ID the
// other side must be that node. The dial ends with ctx, which should have a
// deadline; DefaultTimeout otherwise.
func (c *Client) DialRaft(ctx context.Context, t Target) (net.Conn, error) {
	ctx, cancel := withDeadline(ctx, DefaultTimeout)
	defer cancel()
	conn, err := c.dial(ctx, t, RaftProtocol)
	if err != nil {
		return nil, fmt.Errorf("raft connection: %w", c.explain(ctx, t, err))
	}
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { closeNow(conn) })
	err = readHello(conn)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		closeNow(conn)
		return nil, fmt.Errorf("raft connection to %s: %w", t, err)
	}
	conn.SetDeadline(time.Time{})
	return conn, nil
}
