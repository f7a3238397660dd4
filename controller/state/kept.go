package state

import (
	"cmp"
	"slices"
	"sync"

	"github.com/stackato/stackato/controller/cf"
)

// kept is what the views of a store share.
type kept struct {
	apps inOrder[cf.App]
}

// inOrder keeps the rows of a table in the order of their creation until one
// of them changes: whoever asks for one page after the other does not walk
// the table for each. It is safe for concurrent use.
type inOrder[T any] struct {
	mu      sync.Mutex
	version <-chan struct{} // of the table, see [Rows.Version]
	index   uint64          // of the view that the rows are from
	rows    []*T
}

// of returns the rows of a table that has the index "created".
func (o *inOrder[T]) of(v *View, t table[T], resource func(*T) cf.Resource) []*T {
	found := rowsBy(v, t, "created_prefix", "")
	o.mu.Lock() // also while the table is walked: others wait for the same rows
	defer o.mu.Unlock()
	if o.version == found.Version {
		return o.rows
	}
	rows := make([]*T, 0, len(o.rows)+1)
	for row := range found.All {
		rows = append(rows, row)
	}
	// In order already, but for times that the index does not tell apart.
	slices.SortFunc(rows, func(a, b *T) int {
		x, y := resource(a), resource(b)
		return cmp.Or(x.CreatedAt.Compare(y.CreatedAt), cmp.Compare(x.GUID, y.GUID))
	})
	if v.index >= o.index { // not for a view that was taken before another one
		o.version, o.index, o.rows = found.Version, v.index, rows
	}
	return rows
}
