package api

import (
	"cmp"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

// listing says how one resource is listed: page, per_page, order_by, guids,
// label_selector, created_ats, updated_ats and include work for all of them.
type listing[T any] struct {
	resource func(*T) cf.Resource
	metadata func(*T) cf.Metadata // nil: no labels
	// filters are the further query parameters. A row is listed if its value
	// is one of those asked for.
	filters map[string]func(*T) string
	// params are query parameters that the handler looks at itself.
	params []string
	// orders are further values of order_by. order is the default one; nil is
	// created_at.
	orders map[string]func(a, b *T) int
	order  func(a, b *T) int
	// includes are the values of include=; included returns what goes under
	// "included" for the rows of the page.
	includes []string
	included func(r *request, what map[string]bool, rows []T) map[string]any
	present  func(r *request, row T) any
}

type pagination struct {
	TotalResults int   `json:"total_results"`
	TotalPages   int   `json:"total_pages"`
	First        link  `json:"first"`
	Last         link  `json:"last"`
	Next         *link `json:"next"`
	Previous     *link `json:"previous"`
}

type page struct {
	Pagination pagination     `json:"pagination"`
	Resources  []any          `json:"resources"`
	Included   map[string]any `json:"included,omitempty"`
}

// serve answers with the page of rows that the query asks for. Rows must
// already be limited to what the user may see.
func (l listing[T]) serve(r *request, rows iter.Seq[T]) (response, error) {
	return l.serveRefs(r, func(yield func(*T) bool) {
		for row := range rows {
			if !yield(&row) {
				return
			}
		}
	})
}

// serveRefs is serve for rows of the state itself, which are not changed.
func (l listing[T]) serveRefs(r *request, rows iter.Seq[*T]) (response, error) {
	return l.answer(r, func(match func(*T) bool) []*T { return collect(rows, match) }, false)
}

// serveByCreation is serveRefs for rows that are in the order of created_at
// and GUID: the usual pages are cut out of them.
func (l listing[T]) serveByCreation(r *request, rows []*T) (response, error) {
	return l.answer(r, func(match func(*T) bool) []*T {
		if match == nil {
			return rows
		}
		return collect(slices.Values(rows), match)
	}, true)
}

func collect[T any](rows iter.Seq[*T], match func(*T) bool) (found []*T) {
	for row := range rows {
		if match == nil || match(row) {
			found = append(found, row)
		}
	}
	return found
}

// answer presents a page of the rows that find returns for the filters; nil
// is none. byCreation says that they come in the order of created_at and GUID.
func (l listing[T]) answer(r *request, find func(match func(*T) bool) []*T, byCreation bool) (response, error) {
	if err := l.checkQuery(r.query); err != nil {
		return response{}, err
	}
	what, err := r.include(l.includes...)
	if err != nil {
		return response{}, err
	}
	match, err := l.matcher(r.query)
	if err != nil {
		return response{}, err
	}
	order, err := l.orderOf(r.query.Get("order_by"))
	if err != nil {
		return response{}, err
	}
	number, size, err := pageOf(r.query)
	if err != nil {
		return response{}, err
	}
	found := find(match)
	var shown []T
	for _, row := range order.page(found, number, size, byCreation) {
		shown = append(shown, *row)
	}
	out := page{Pagination: paginate(r, len(found), number, size), Resources: make([]any, 0, len(shown))}
	for _, row := range shown {
		out.Resources = append(out.Resources, l.present(r, row))
	}
	if l.included != nil && len(what) > 0 {
		out.Included = l.included(r, what, shown)
	}
	return ok(out)
}

// checkQuery refuses parameters that mean nothing here: a mistyped filter
// must not list everything.
func (l listing[T]) checkQuery(q url.Values) error {
	valid := []string{"page", "per_page", "order_by", "guids", "created_ats", "updated_ats"}
	if l.metadata != nil {
		valid = append(valid, "label_selector")
	}
	if len(l.includes) > 0 {
		valid = append(valid, "include")
	}
	valid = append(append(valid, l.params...), sortedKeys(l.filters)...)
	var unknown []string
	for _, name := range sortedKeys(q) {
		base, _, _ := strings.Cut(name, "[")
		if !slices.Contains(valid, base) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return cf.ErrBadQuery.With("The query parameter is invalid: Unknown query parameter(s): '%s'. Valid parameters are: '%s'",
			strings.Join(unknown, "', '"), strings.Join(valid, "', '"))
	}
	return nil
}

// matcher returns what the filters of a query come to, nil without any.
func (l listing[T]) matcher(q url.Values) (func(*T) bool, error) {
	var tests []func(*T) bool
	add := func(name string, field func(*T) string) {
		if _, asked := q[name]; !asked {
			return
		}
		want := map[string]bool{}
		if q.Get(name) == "" {
			want[""] = true // map-route asks for routes without a path by "paths="
		}
		for _, v := range list(q.Get(name)) {
			want[v] = true
		}
		tests = append(tests, func(row *T) bool { return want[field(row)] })
	}
	add("guids", func(row *T) string { return l.resource(row).GUID })
	for name, field := range l.filters {
		add(name, field)
	}
	if s := q.Get("label_selector"); s != "" {
		selector, err := parseSelector(s)
		if err != nil {
			return nil, err
		}
		for _, part := range selector {
			tests = append(tests, func(row *T) bool { return part.matches(l.metadata(row).Labels) })
		}
	}
	for name, values := range q {
		base, op, _ := strings.Cut(strings.TrimSuffix(name, "]"), "[")
		if base != "created_ats" && base != "updated_ats" {
			continue
		}
		within, err := timeTest(base, op, values[0])
		if err != nil {
			return nil, err
		}
		tests = append(tests, func(row *T) bool {
			if base == "created_ats" {
				return within(l.resource(row).CreatedAt)
			}
			return within(l.resource(row).UpdatedAt)
		})
	}
	if len(tests) == 0 {
		return nil, nil
	}
	return func(row *T) bool {
		for _, t := range tests {
			if !t(row) {
				return false
			}
		}
		return true
	}, nil
}

// timeTest compares whole seconds, which is what clients see.
func timeTest(name, op, value string) (func(time.Time) bool, error) {
	var want []int64
	for _, v := range list(value) {
		t, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return nil, cf.ErrBadQuery.With("The query parameter is invalid: %s has an invalid timestamp format. Timestamps should be formatted as 'YYYY-MM-DDThh:mm:ssZ'", sentence(name))
		}
		want = append(want, t.Unix())
	}
	if op == "" {
		return func(t time.Time) bool { return slices.Contains(want, t.Unix()) }, nil
	}
	accepts := map[string][]int{"lt": {-1}, "lte": {-1, 0}, "gt": {1}, "gte": {1, 0}}[op]
	if accepts == nil || len(want) != 1 {
		return nil, cf.ErrBadQuery.With("The query parameter is invalid: %s takes a list of times, or one of [lt], [lte], [gt], [gte] with one time", sentence(name))
	}
	return func(t time.Time) bool { return slices.Contains(accepts, cmp.Compare(t.Unix(), want[0])) }, nil
}

func pageOf(q url.Values) (number, size int, err error) {
	number, size = 1, 50
	if v := q.Get("page"); v != "" {
		if number, err = strconv.Atoi(v); err != nil || number < 1 || number > 1<<31 {
			return 0, 0, cf.ErrBadQuery.With("The query parameter is invalid: Page must be a positive integer")
		}
	}
	if v := q.Get("per_page"); v != "" {
		if size, err = strconv.Atoi(v); err != nil || size < 1 || size > 5000 {
			return 0, 0, cf.ErrBadQuery.With("The query parameter is invalid: Per page must be between 1 and 5000")
		}
	}
	return number, size, nil
}

func paginate(r *request, total, number, size int) pagination {
	pages := max(1, (total+size-1)/size)
	href := func(n int) link {
		q := url.Values{}
		for k, v := range r.query {
			q[k] = v
		}
		q.Set("page", strconv.Itoa(n))
		q.Set("per_page", strconv.Itoa(size))
		return link{Href: r.link(r.URL.EscapedPath(), "?", q.Encode())}
	}
	out := pagination{TotalResults: total, TotalPages: pages, First: href(1), Last: href(pages)}
	if number < pages {
		next := href(number + 1)
		out.Next = &next
	}
	if number > 1 {
		previous := href(min(number-1, pages))
		out.Previous = &previous
	}
	return out
}

// emptyList answers a list call for what is not there yet.
func emptyList(r *request) (response, error) {
	number, size, err := pageOf(r.query)
	if err != nil {
		return response{}, err
	}
	return response{status: http.StatusOK, body: page{Pagination: paginate(r, 0, number, size), Resources: []any{}}}, nil
}
