package state

import (
	"iter"

	"github.com/stackato/stackato/controller/cf"
)

// Rows is a whole table as a view shows it, for those who follow tables that
// grow large. The rows are the state's own and must never be changed. A row
// that two views share is the same pointer in both.
type Rows[T any] struct {
	// All yields the rows in the order of their GUIDs; use it once.
	All iter.Seq[*T]
	// Version is the same channel for two views in which the table is the
	// same, and another one if anything in it has changed.
	Version <-chan struct{}
}

// RouteRows returns the routes. Like the next three it makes a watch wake up
// when anything in the table changes, also when All is not used.
func (v *View) RouteRows() Rows[cf.Route] { return rowsOf(v, routes) }

// DestinationRows returns the destinations of all routes.
func (v *View) DestinationRows() Rows[cf.Destination] { return rowsOf(v, destinations) }

// DomainRows returns the domains.
func (v *View) DomainRows() Rows[cf.Domain] { return rowsOf(v, domains) }

// AppRows returns the apps.
func (v *View) AppRows() Rows[cf.App] { return rowsOf(v, apps) }

func rowsOf[T any](v *View, t table[T]) Rows[T] {
	it, err := v.txn.Get(t.name, "id")
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
