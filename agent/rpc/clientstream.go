package rpc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/stackato/stackato/wire/rpcerr"
)

// Stream is the receiving side of a stream. Next and Close may be called from
// different goroutines; Next from one at a time.
type Stream[Item any] struct {
	client  *Client
	target  Target
	ctx     context.Context
	cancel  context.CancelCauseFunc
	body    io.Closer
	read    *bufio.Reader
	maxItem int64
	silence time.Duration
	watch   *time.Timer // ends the stream when heartbeats are missing
	release func() bool
	once    sync.Once
	err     error // what Next returns from now on
}

var errSilent = errors.New("no heartbeat")

// OpenStream opens a stream. It lives until ctx is done, Close, the end that
// the server sets, or missing heartbeats; the caller must Close it. Opening is
// bounded by DefaultTimeout.
func OpenStream[Req, Item any](ctx context.Context, c *Client, t Target, m StreamMethod[Req, Item], req *Req) (*Stream[Item], error) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &Stream[Item]{
		client: c, target: t, ctx: ctx, cancel: cancel,
		maxItem: orDefault(m.MaxItem, DefaultMaxResponse),
		silence: 3 * orDefault(m.Heartbeat, DefaultHeartbeat),
	}
	s.release = context.AfterFunc(c.closing, func() { cancel(net.ErrClosed) })
	s.watch = time.AfterFunc(DefaultTimeout, func() { cancel(errSilent) })
	answer, err := c.post(ctx, t, m.Name, req) //nolint:bodyclose // Stream.Close closes it
	if err != nil {
		err = s.explain(err)
		s.Close()
		return nil, err
	}
	s.body, s.read = answer.Body, bufio.NewReader(answer.Body)
	s.watch.Reset(s.silence)
	return s, nil
}

// Next waits for the next item. After the last one the error is io.EOF;
// other errors are *[rpcerr.Error]. After an error it stays.
func (s *Stream[Item]) Next() (*Item, error) {
	for s.err == nil {
		line, err := s.line()
		if err != nil {
			s.err = s.explain(err)
			break
		}
		s.watch.Reset(s.silence)
		var f frame
		if err := json.Unmarshal(line, &f); err != nil {
			s.err = rpcerr.New(rpcerr.Internal, "the stream of %s cannot be read: %w", s.target, err)
			break
		}
		switch {
		case f.Error != nil:
			s.err = f.Error
		case f.End:
			s.err = io.EOF
		case f.Item != nil:
			item := new(Item)
			if err := json.Unmarshal(f.Item, item); err != nil {
				s.err = rpcerr.New(rpcerr.Internal, "an item of %s cannot be read: %w", s.target, err)
				break
			}
			return item, nil
		}
	}
	return nil, s.err
}

// line reads one bounded line. The end of the body without an end frame is an
// error: the stream was cut.
func (s *Stream[Item]) line() ([]byte, error) {
	var out []byte
	for {
		part, err := s.read.ReadSlice('\n')
		if int64(len(out)+len(part)) > s.maxItem+64 { // 64: the frame around it
			return nil, rpcerr.New(rpcerr.Internal, "an item of %s is larger than %d bytes", s.target, s.maxItem)
		}
		out = append(out, part...)
		switch {
		case err == nil:
			return out, nil
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func (s *Stream[Item]) explain(err error) error {
	var known *rpcerr.Error
	switch cause := context.Cause(s.ctx); {
	case errors.Is(cause, errSilent):
		return rpcerr.New(rpcerr.Unavailable, "the stream of node %s is silent", s.target)
	case errors.As(err, &known):
		return known
	}
	return s.client.explain(s.ctx, s.target, err)
}

// Close ends the stream; a waiting Next returns. It may be called more than
// once.
func (s *Stream[Item]) Close() {
	s.once.Do(func() {
		s.cancel(context.Canceled)
		s.watch.Stop()
		s.release()
		if s.body != nil {
			s.body.Close()
		}
	})
}
