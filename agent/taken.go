package agent

import (
	"context"
	"sync"

	"github.com/stackato/stackato/agent/cluster"
)

// taken is how far this node has taken over the cluster's state: the keys and
// authorities of the assignment are in use, not only known. It is safe for
// concurrent use.
type taken struct {
	mu     sync.Mutex
	digest string
	index  uint64
}

func (t *taken) set(a cluster.Assignment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.digest, t.index = a.Digest(), a.Index
}

// same notes that the state at a later index means the same to this node.
func (t *taken) same(a cluster.Assignment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.Digest() == t.digest {
		t.index = max(t.index, a.Index)
	}
}

// upTo is the index that the node has taken over.
func (t *taken) upTo() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.index
}

// catchUp looks whether the state at index differs from what the node works
// from: if it does not, nothing else would tell of the index for a while. If
// it does, follow is on its way with it.
func (r *runtime) catchUp(ctx context.Context, index uint64) {
	if index <= r.taken.upTo() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout/2)
	defer cancel()
	a, err := r.nextAssignment(ctx, 0)
	if err != nil {
		r.log.Debug("look for a newer assignment", "want", index, "err", err)
		return
	}
	r.taken.same(a)
}
