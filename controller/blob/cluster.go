package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// PeerID names another controller.
type PeerID string

// Peers are the other controllers. All methods are safe for concurrent use.
type Peers interface {
	// List returns the other controllers, and those of them that vote;
	// self says whether this controller votes.
	List() (all, voters []PeerID, self bool)
	// Put makes the peer store a blob durably by [Dir.Receive].
	Put(ctx context.Context, peer PeerID, b Blob, r io.Reader) error
	// Get opens a blob of the peer's own [Dir]: ErrNotFound if it has none.
	Get(ctx context.Context, peer PeerID, digest string) (io.ReadCloser, error)
	// Has returns what the peer's own Dir says of the blob.
	Has(ctx context.Context, peer PeerID, digest string) (Info, error)
}

// Alone are the peers of the only controller: none, so nothing but List is
// ever called.
type Alone struct{ Peers }

// List implements [Peers].
func (Alone) List() (all, voters []PeerID, self bool) { return nil, nil, true }

// ClusterConfig says how a [Cluster] works. Zero fields mean the default.
type ClusterConfig struct {
	// Stall is how long a transfer may go without a byte, the
	// peer's sync of its disk included. Default 60 s.
	Stall time.Duration
	// Ask bounds a question to a peer. Default 3 s.
	Ask time.Duration
	// Logger gets a line for each failed repair. Default slog.Default.
	Logger *slog.Logger
}

// Cluster is a [Store] over this controller's directory and those of the
// others. What Put and Commit acknowledge is on the disks of a majority of the
// voters; the others get it from [Cluster.Run]. What this controller lacks
// comes from another one, and is kept on the way.
type Cluster struct {
	local *Dir
	peers Peers
	cfg   ClusterConfig

	rest chan transfer // blobs that other voters still need

	mu      sync.Mutex
	keeping map[string]bool // blobs that are being kept on the way
}

var _ Store = (*Cluster)(nil)

type transfer struct {
	peer PeerID
	blob Blob
}

// maxRest bounds the transfers that wait; Repair brings what is dropped.
const maxRest = 1024

// NewCluster returns a store; it starts nothing.
func NewCluster(local *Dir, peers Peers, cfg ClusterConfig) *Cluster {
	if cfg.Stall == 0 {
		cfg.Stall = 60 * time.Second
	}
	if cfg.Ask == 0 {
		cfg.Ask = 3 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Cluster{
		local: local, peers: peers, cfg: cfg,
		rest: make(chan transfer, maxRest), keeping: map[string]bool{},
	}
}

// Local returns this controller's directory, from which peers are served: its
// Open finds damage before it spreads.
func (c *Cluster) Local() *Dir { return c.local }

// Stage implements [Store].
func (c *Cluster) Stage(ctx context.Context, limit int64) (*Staged, error) {
	return c.local.Stage(ctx, limit)
}

// Put implements [Store].
func (c *Cluster) Put(ctx context.Context, r io.Reader, limit int64) (Blob, error) {
	return put(ctx, c, r, limit)
}

// Commit implements [Store]. With ErrQuorum the blob stays in the local
// directory until it is swept.
func (c *Cluster) Commit(ctx context.Context, s *Staged) (Blob, error) {
	b, err := c.local.Commit(ctx, s)
	if err != nil {
		return Blob{}, err
	}
	return b, c.spread(ctx, b)
}

// spread copies a local blob until a majority of the voters has it, as many at
// a time as are missing, and leaves the rest to Run.
func (c *Cluster) spread(ctx context.Context, b Blob) error {
	_, voters, self := c.peers.List()
	need := len(voters)/2 + 1 // others, if this one does not vote
	if self {
		need = (len(voters) + 1) / 2
	}
	voters = append([]PeerID(nil), voters...)
	rand.Shuffle(len(voters), func(i, j int) { voters[i], voters[j] = voters[j], voters[i] })

	results := make(chan error)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running, have := 0, 0
	var failed []PeerID
	var errs []error
	for have < need {
		for ; running < need-have && len(voters) > 0; voters = voters[1:] {
			running++
			go func(peer PeerID) {
				err := c.send(ctx, peer, b)
				if err != nil {
					err = &peerError{peer, err}
				}
				results <- err
			}(voters[0])
		}
		if running == 0 {
			return fmt.Errorf("%w: %d of %d others have %.12s…: %w", ErrQuorum, have, need, b.Digest, errors.Join(errs...))
		}
		err := <-results
		running--
		var pe *peerError
		if errors.As(err, &pe) {
			failed = append(failed, pe.peer)
			errs = append(errs, err)
			continue
		}
		have++
	}
	for _, peer := range append(voters, failed...) {
		c.later(transfer{peer, b})
	}
	return nil
}

type peerError struct {
	peer PeerID
	err  error
}

func (e *peerError) Error() string { return fmt.Sprintf("controller %s: %v", e.peer, e.err) }
func (e *peerError) Unwrap() error { return e.err }

func (c *Cluster) later(t transfer) {
	select {
	case c.rest <- t:
	default:
	}
}

// send copies a local blob to a peer. It ends when no byte moves for a while.
func (c *Cluster) send(ctx context.Context, peer PeerID, b Blob) error {
	r, _, err := c.local.Open(ctx, b.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	watched, stop := watchStall(ctx, c.cfg.Stall)
	defer stop()
	return watched.explain(c.peers.Put(watched.ctx, peer, b, watched.reader(r)))
}

// Open implements [Store].
func (c *Cluster) Open(ctx context.Context, digest string) (io.ReadCloser, int64, error) {
	r, size, err := c.local.openSound(digest)
	if !errors.Is(err, ErrNotFound) || !ValidDigest(digest) {
		return r, size, err
	}
	all, _, _ := c.peers.List()
	errs := []error{notFound(digest)}
	for _, peer := range all {
		info, err := c.has(ctx, peer, digest)
		if err == nil {
			var remote io.ReadCloser
			if remote, err = c.fetch(ctx, peer, info.Blob); err == nil {
				return remote, info.Size, nil
			}
		}
		if !errors.Is(err, ErrNotFound) {
			errs = append(errs, &peerError{peer, err})
		}
	}
	return nil, 0, errors.Join(errs...)
}

func (c *Cluster) has(ctx context.Context, peer PeerID, digest string) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Ask)
	defer cancel()
	return c.peers.Has(ctx, peer, digest)
}

// fetch opens a peer's blob as a stream that checks its digest and is kept
// locally on the way, if there is room and nobody else keeps it.
func (c *Cluster) fetch(ctx context.Context, peer PeerID, b Blob) (io.ReadCloser, error) {
	watched, stop := watchStall(ctx, c.cfg.Stall)
	r, err := c.peers.Get(watched.ctx, peer, b.Digest)
	if err != nil {
		stop()
		return nil, watched.explain(err)
	}
	f := &fetched{c: c, ctx: ctx, blob: b, remote: r, r: watched.reader(r), watched: watched, stop: stop, sum: sha256.New()}
	if c.keep(b.Digest) {
		f.keeps = true
		f.copy, err = c.local.Stage(ctx, b.Size)
		if err != nil { // full: the reader gets the content all the same
			f.copy = nil
		}
	}
	return f, nil
}

func (c *Cluster) keep(digest string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keeping[digest] {
		return false
	}
	c.keeping[digest] = true
	return true
}

func (c *Cluster) kept(digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.keeping, digest)
}

// fetched is a blob that comes from a peer.
type fetched struct {
	c       *Cluster
	ctx     context.Context
	blob    Blob
	remote  io.Closer
	r       io.Reader
	watched *stallWatch
	stop    func()
	sum     hash.Hash
	size    int64
	keeps   bool    // holds the place in Cluster.keeping
	copy    *Staged // nil if nothing is kept
	err     error   // sticky
}

func (f *fetched) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.r.Read(p)
	f.sum.Write(p[:n])
	f.size += int64(n)
	if f.copy != nil {
		if _, werr := f.copy.Write(p[:n]); werr != nil {
			f.copy.Discard()
			f.copy = nil
		}
	}
	if errors.Is(err, io.EOF) {
		err = f.finish()
	}
	f.err = f.watched.explain(err)
	return n, f.err
}

// finish checks the digest and keeps the copy.
func (f *fetched) finish() error {
	if f.size != f.blob.Size || hex.EncodeToString(f.sum.Sum(nil)) != f.blob.Digest {
		return corrupt(f.blob.Digest)
	}
	if f.copy == nil {
		return io.EOF
	}
	if _, err := f.c.local.Commit(f.ctx, f.copy); err != nil {
		f.c.cfg.Logger.Warn("a blob of another controller could not be kept here", "blob", f.blob.Digest, "error", err)
	}
	f.copy = nil
	return io.EOF
}

func (f *fetched) Close() error {
	if f.copy != nil {
		f.copy.Discard()
		f.copy = nil
	}
	if f.keeps {
		f.c.kept(f.blob.Digest)
		f.keeps = false
	}
	f.stop()
	return f.remote.Close()
}

// Stat implements [Store].
func (c *Cluster) Stat(ctx context.Context, digest string) (Info, error) {
	info, err := c.local.Stat(ctx, digest)
	if !errors.Is(err, ErrNotFound) || !ValidDigest(digest) {
		return info, err
	}
	all, _, _ := c.peers.List()
	errs := []error{err}
	for _, peer := range all {
		info, err := c.has(ctx, peer, digest)
		if err == nil {
			return info, nil
		}
		if !errors.Is(err, ErrNotFound) {
			errs = append(errs, &peerError{peer, err})
		}
	}
	return Info{}, errors.Join(errs...)
}

// Delete implements [Store].
func (c *Cluster) Delete(ctx context.Context, digest string, before time.Time) (bool, error) {
	return c.local.Delete(ctx, digest, before)
}

// List implements [Store].
func (c *Cluster) List(ctx context.Context, yield func(Info) bool) error {
	return c.local.List(ctx, yield)
}
