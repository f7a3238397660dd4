package api

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"github.com/stackato/stackato/controller/cf"
)

// order is an order of rows. No two rows are equal in it: it ends with the
// GUID, so that pages never overlap.
type order[T any] struct {
	compare func(a, b *T) int
	// byCreation is 1 for the order of created_at and GUID, -1 for its
	// reverse, and 0 for every other one.
	byCreation int
}

// orderOf is the order that order_by asks for.
func (l listing[T]) orderOf(by string) (order[T], error) {
	orders := map[string]func(a, b *T) int{
		"created_at": func(a, b *T) int { return l.resource(a).CreatedAt.Compare(l.resource(b).CreatedAt) },
		"updated_at": func(a, b *T) int { return l.resource(a).UpdatedAt.Compare(l.resource(b).UpdatedAt) },
	}
	own := map[string]bool{} // created_at can be a resource's own idea
	for k, v := range l.orders {
		orders[k], own[k] = v, true
	}
	name, descending := strings.CutPrefix(by, "-")
	name = strings.TrimPrefix(name, "+")
	name = strings.TrimSpace(name) // an unescaped "+" is a space
	first, known := orders[name]
	if by == "" {
		if first, known = l.order, l.order != nil; !known {
			name = "created_at"
			first, known = orders[name], true
		}
	}
	if !known {
		return order[T]{}, cf.ErrBadQuery.With("The query parameter is invalid: Order by can only be: '%s'", strings.Join(sortedKeys(orders), "', '"))
	}
	out := order[T]{compare: func(a, b *T) int {
		c := first(a, b)
		if c == 0 {
			c = cmp.Compare(l.resource(a).GUID, l.resource(b).GUID)
		}
		if descending {
			return -c
		}
		return c
	}}
	if name == "created_at" && !own[name] {
		out.byCreation = 1
		if descending {
			out.byCreation = -1
		}
	}
	return out, nil
}

// page returns a page of rows, which are in the order of created_at and GUID
// if byCreation says so, and then are not changed.
func (o order[T]) page(rows []*T, number, size int, byCreation bool) []*T {
	from := min((number-1)*size, len(rows))
	to := min(from+size, len(rows))
	switch {
	case from == to:
		return nil
	case byCreation && o.byCreation > 0:
		return rows[from:to]
	case byCreation && o.byCreation < 0:
		out := slices.Clone(rows[len(rows)-to : len(rows)-from])
		slices.Reverse(out)
		return out
	case byCreation:
		rows = slices.Clone(rows)
	}
	sortPart(rows, from, to, o.compare)
	return rows[from:to]
}

// sortPart puts into s[from:to] what sorting s would put there; the rest of s
// comes in any order. It costs little more than looking at each element twice.
func sortPart[E any](s []E, from, to int, compare func(a, b E) int) {
	const few = 64
	for rounds := 2 * bits.Len(uint(len(s))); from < to; rounds-- {
		if len(s) <= few || to-from > len(s)/2 || rounds == 0 {
			slices.SortFunc(s, compare)
			return
		}
		middle := split(s, compare)
		switch {
		case to <= middle:
			s = s[:middle]
		case from >= middle:
			s, from, to = s[middle:], from-middle, to-middle
		default:
			sortPart(s[:middle], from, middle, compare)
			s, from, to = s[middle:], 0, to-middle
		}
	}
}

// split orders s, of three elements or more, so that none before the returned
// index, which is within s, is greater than one from there on.
func split[E any](s []E, compare func(a, b E) int) int {
	low, high := 0, len(s)-1
	middle := high / 2
	for _, pair := range [][2]int{{low, middle}, {middle, high}, {low, middle}} {
		if a, b := pair[0], pair[1]; compare(s[a], s[b]) > 0 {
			s[a], s[b] = s[b], s[a]
		}
	}
	pivot := s[middle]
	for i, j := low, high; ; i, j = i+1, j-1 {
		for compare(s[i], pivot) < 0 {
			i++
		}
		for compare(s[j], pivot) > 0 {
			j--
		}
		if i >= j {
			return j + 1
		}
		s[i], s[j] = s[j], s[i]
	}
}
