package api

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

// TestEachPageIsThatOfTheSortedList compares every page, in every order, of
// rows in order and of rows in none, with the same part of all rows sorted.
func TestEachPageIsThatOfTheSortedList(t *testing.T) {
	l := listing[cf.App]{
		resource: func(a *cf.App) cf.Resource { return a.Resource },
		orders:   map[string]func(a, b *cf.App) int{"name": func(a, b *cf.App) int { return strings.Compare(a.Name, b.Name) }},
	}
	byTime := func(a, b *cf.App) int { return a.CreatedAt.Compare(b.CreatedAt) }
	orders := map[string]func(a, b *cf.App) int{
		"": byTime, "created_at": byTime, "name": l.orders["name"],
		"updated_at": func(a, b *cf.App) int { return a.UpdatedAt.Compare(b.UpdatedAt) },
	}
	rng := rand.New(rand.NewPCG(1, 2))
	at := func(n int) time.Time { return time.Unix(int64(rng.IntN(n)), 0) }
	for _, count := range []int{0, 1, 2, 63, 64, 65, 66, 130, 500, 1111} {
		for _, different := range []int{1, 7, 1 << 30} { // many rows are equal but for their GUIDs, or few
			var rows []*cf.App
			for i := range count {
				rows = append(rows, &cf.App{
					Resource: cf.Resource{GUID: fmt.Sprint(i, "-", rng.Int()), CreatedAt: at(different), UpdatedAt: at(different)},
					Name:     fmt.Sprint(rng.IntN(different)),
				})
			}
			for by, first := range orders {
				for _, sign := range []string{"", "-"} {
					if by == "" && sign == "-" {
						continue
					}
					want := slices.SortedFunc(slices.Values(rows), func(a, b *cf.App) int {
						c := cmp.Or(first(a, b), cmp.Compare(a.GUID, b.GUID))
						if sign == "-" {
							c = -c
						}
						return c
					})
					order, err := l.orderOf(sign + by)
					if err != nil {
						t.Fatal(err)
					}
					for _, size := range []int{1, 50, 64, 5000} {
						for number := 1; number <= count/size+2; number += 1 + rng.IntN(1+count/size/4) {
							part := want[min((number-1)*size, count):min(number*size, count)]
							shuffled := slices.Clone(rows)
							rng.Shuffle(count, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
							if got := order.page(shuffled, number, size, false); !slices.Equal(got, part) {
								t.Fatalf("page %d of %d rows a page, of %d rows with %d values, by %q: other rows than in the sorted list", number, size, count, different, sign+by)
							}
							created := slices.SortedFunc(slices.Values(rows), func(a, b *cf.App) int {
								return cmp.Or(byTime(a, b), cmp.Compare(a.GUID, b.GUID))
							})
							before := slices.Clone(created)
							if got := order.page(created, number, size, true); !slices.Equal(got, part) {
								t.Fatalf("page %d of %d rows a page, of %d rows in order of creation with %d values, by %q: other rows than in the sorted list", number, size, count, different, sign+by)
							}
							if !slices.Equal(created, before) {
								t.Fatalf("by %q: the state's own rows were put in another order", sign+by)
							}
						}
					}
				}
			}
		}
	}
}

// TestPartsOfAwkwardLists sorts parts of lists that make a poor choice of
// pivots likely.
func TestPartsOfAwkwardLists(t *testing.T) {
	lists := map[string]func(i int) int{
		"up": func(i int) int { return i }, "down": func(i int) int { return -i }, "all the same": func(int) int { return 1 },
		"organ pipe": func(i int) int { return min(i, 300-i) }, "saw": func(i int) int { return i % 7 },
	}
	for name, value := range lists {
		for _, part := range [][2]int{{0, 1}, {0, 50}, {120, 170}, {149, 151}, {250, 300}, {299, 300}, {0, 300}, {7, 7}} {
			s := make([]int, 300)
			for i := range s {
				s[i] = value(i)
			}
			want := slices.Sorted(slices.Values(s))[part[0]:part[1]]
			sortPart(s, part[0], part[1], cmp.Compare)
			if got := s[part[0]:part[1]]; !slices.Equal(got, want) {
				t.Errorf("%s, %v: %v, want %v", name, part, got, want)
			}
		}
	}
}

// TestPagesOfApps asks for apps one by one, as administrator and as a
// developer of some of the spaces, while apps change between the questions.
func TestPagesOfApps(t *testing.T) {
	c := newCloud(t)
	c.login("dev")
	org := c.newOrg("org")
	c.grant("dev", "organization_user", org)
	var apps []string
	for s := range 3 {
		space := c.newSpace(org, fmt.Sprint("space", s))
		if s > 0 {
			c.grant("dev", "space_developer", space)
		}
		for a := range 5 {
			apps = append(apps, c.newApp(space, fmt.Sprintf("app-%d-%d", a, s)))
		}
	}
	for user, names := range map[string][]string{
		"admin": {"app-0-0", "app-1-0", "app-2-0", "app-3-0", "app-4-0", "app-0-1", "app-1-1", "app-2-1", "app-3-1", "app-4-1", "app-0-2", "app-1-2", "app-2-2", "app-3-2", "app-4-2"},
		"dev":   {"app-0-1", "app-1-1", "app-2-1", "app-3-1", "app-4-1", "app-0-2", "app-1-2", "app-2-2", "app-3-2", "app-4-2"},
	} {
		for _, query := range []string{"", "order_by=created_at", "order_by=-created_at", "order_by=name", "order_by=-name", "label_selector=!none"} {
			want := slices.Clone(names)
			if strings.HasSuffix(query, "name") {
				slices.Sort(want)
			}
			if strings.Contains(query, "=-") {
				slices.Reverse(want)
			}
			for n, name := range want {
				c.admin("PATCH", "/v3/apps/"+apps[n], map[string]any{"metadata": map[string]any{"labels": map[string]any{"seen": user}}}).want(200)
				a := c.as(user, "GET", fmt.Sprintf("/v3/apps?per_page=1&page=%d&%s", n+1, query), nil).want(200)
				a.mustHave("name", name)
				if got := a.get("pagination.total_results"); got != fmt.Sprint(len(want)) {
					t.Errorf("%s, %s: %s apps in total, want %d", user, query, got, len(want))
				}
			}
		}
	}
	c.admin("GET", "/v3/apps?label_selector=seen&per_page=1&order_by=-created_at", nil).mustHave("name", "app-4-2")
	c.admin("DELETE", "/v3/apps/"+apps[0], nil).want(202)
	c.admin("GET", "/v3/apps?per_page=1", nil).want(200).mustHave("name", "app-1-0")
	c.admin("PATCH", "/v3/apps/"+apps[1], map[string]any{"name": "other"}).want(200)
	c.admin("GET", "/v3/apps?per_page=1", nil).want(200).mustHave("name", "other")
}
