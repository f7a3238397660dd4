package state

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var destinations = newTable[cf.Destination]("cf_destinations", byGUID(), by("route", "RouteGUID"), by("app", "AppGUID"))

// maxDestinations is how many destinations a route can have.
const maxDestinations = 100

// Destinations returns all destinations, in no useful order.
func (v *View) Destinations() []cf.Destination { return destinations.list(v, "id") }

// DestinationsOfRoute returns where a route leads, the oldest first.
func (v *View) DestinationsOfRoute(guid string) []cf.Destination {
	out := destinations.list(v, "route", guid)
	slices.SortFunc(out, func(a, b cf.Destination) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.GUID, b.GUID)
	})
	return out
}

// DestinationsOfApp returns the destinations that are processes of an app.
func (v *View) DestinationsOfApp(guid string) []cf.Destination {
	return destinations.list(v, "app", guid)
}

// RouteMapping maps destinations to a route.
type RouteMapping struct {
	RouteGUID    string           `json:"route_guid"`
	Destinations []cf.Destination `json:"destinations"`
	// Replace removes all others.
	Replace bool      `json:"replace,omitempty"`
	At      time.Time `json:"at"`
}

var mapRoute = newAudited("cf.route.map", 1, func(tx *Tx, in RouteMapping) (none, error) {
	r, err := getRoute(tx, in.RouteGUID)
	if err != nil {
		return none{}, err
	}
	old := destinations.list(tx, "route", r.GUID)
	if in.Replace {
		destinations.remove(tx, "route", r.GUID)
	}
	for _, d := range in.Destinations {
		a, ok := apps.get(tx, "id", d.AppGUID)
		if !ok {
			return none{}, cf.ErrUnprocessable.With("App(s) with guid(s) \"%s\" do not exist or you do not have access.", d.AppGUID)
		}
		if !r.UsableIn(a.SpaceGUID) {
			return none{}, cf.ErrUnprocessable.With("Routes destinations must be in either the route's space or the route's shared spaces")
		}
		if i := slices.IndexFunc(old, d.Same); i >= 0 {
			if in.Replace {
				destinations.put(tx, old[i])
			}
			continue
		}
		d.RouteGUID = r.GUID
		destinations.put(tx, d)
		old = append(old, d)
	}
	if count(destinations.each(tx, "route", r.GUID)) > maxDestinations {
		return none{}, cf.ErrUnprocessable.With("Routes can be mapped to at most %d destinations.", maxDestinations)
	}
	r.UpdatedAt = in.At
	routes.put(tx, r)
	return none{}, nil
})

// MapRoute adds destinations to a route; those it has already stay as they
// are.
func (s *Store) MapRoute(ctx context.Context, m RouteMapping) error {
	_, err := mapRoute.do(ctx, s, m)
	return err
}

// MapRoute is like Store.MapRoute.
func (b *Batch) MapRoute(m RouteMapping) { mapRoute.queue(b, m) }

// DestinationTarget names a destination of a route.
type DestinationTarget struct {
	RouteGUID string    `json:"route_guid"`
	GUID      string    `json:"guid"`
	Protocol  string    `json:"protocol,omitempty"` // the new one
	At        time.Time `json:"at"`
}

var unmapRoute = newAudited("cf.route.unmap", 1, func(tx *Tx, in DestinationTarget) (none, error) {
	d, ok := destinations.get(tx, "id", in.GUID)
	if !ok || d.RouteGUID != in.RouteGUID {
		return none{}, cf.ErrUnprocessable.With("Unable to unmap route from destination. Ensure the route has a destination with this guid.")
	}
	destinations.remove(tx, "id", in.GUID)
	return none{}, nil
})

// UnmapRoute removes a destination from its route.
func (s *Store) UnmapRoute(ctx context.Context, t DestinationTarget) error {
	_, err := unmapRoute.do(ctx, s, t)
	return err
}

// UnmapRoute is like Store.UnmapRoute.
func (b *Batch) UnmapRoute(t DestinationTarget) { unmapRoute.queue(b, t) }

var updateDestination = newAudited("cf.route.update_destination", 1, func(tx *Tx, in DestinationTarget) (cf.Destination, error) {
	d, ok := destinations.get(tx, "id", in.GUID)
	if !ok || d.RouteGUID != in.RouteGUID {
		return d, cf.ErrNotFound.With("Destination not found")
	}
	d.Protocol, d.UpdatedAt = in.Protocol, in.At
	destinations.put(tx, d)
	return d, nil
})

// UpdateDestination changes a destination's protocol and returns it.
func (s *Store) UpdateDestination(ctx context.Context, t DestinationTarget) (cf.Destination, error) {
	return updateDestination.do(ctx, s, t)
}

func count[T any](rows iter.Seq[T]) int {
	n := 0
	for range rows {
		n++
	}
	return n
}
