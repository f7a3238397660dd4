package state

import (
	"iter"

	"github.com/stackato/stackato/controller/cf"
)

// Rows are those of a table whose GUIDs begin with a prefix, as a view shows
// them, for those who follow tables that grow large. The rows are the state's own and must never be changed. A row
// that two views share is the same pointer in both.
type Rows[T any] struct {
	// All yields the rows in the order of their GUIDs; use it once.
	All iter.Seq[*T]
	// Version is the same channel only for two views in which these rows are
	// the same; it is another one if any of them has changed.
	Version <-chan struct{}
}

// RouteRows returns the routes. Like the next three it makes a watch wake up
// when any of the rows changes, also when All is not used.
func (v *View) RouteRows(prefix string) Rows[cf.Route] { return rowsOf(v, routes, prefix) }

// DestinationRows returns the destinations of all routes.
func (v *View) DestinationRows(prefix string) Rows[cf.Destination] {
	return rowsOf(v, destinations, prefix)
}

// DomainRows returns the domains.
func (v *View) DomainRows(prefix string) Rows[cf.Domain] { return rowsOf(v, domains, prefix) }

// AppRows returns the apps.
func (v *View) AppRows(prefix string) Rows[cf.App] { return rowsOf(v, apps, prefix) }

func rowsOf[T any](v *View, t table[T], prefix string) Rows[T] {
	return rowsBy(v, t, "id_prefix", prefix)
}

func rowsBy[T any](v *View, t table[T], index, prefix string) Rows[T] {
	it, err := v.txn.Get(t.name, index, prefix)
	if err != nil {
		panic("state: list " + t.name + ": " + err.Error()) // our own table
	}
	if v.ws != nil {
		v.ws.Add(it.WatchCh())
	}
	return Rows[T]{Version: it.WatchCh(), All: func(yield func(*T) bool) {
		for raw := it.Next(); raw != nil; raw = it.Next() {
			if !yield(raw.(*T)) {
				return
			}
		}
	}}
}
