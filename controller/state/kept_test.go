package state

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stackato/stackato/controller/cf"
)

// TestAppsByCreation creates, changes and deletes apps at random, and compares
// what old and new views show with their apps sorted.
func TestAppsByCreation(t *testing.T) {
	s := newShop(t)
	rng := rand.New(rand.NewPCG(3, 4))
	var alive []string
	var old []*View
	check := func(v *View) {
		t.Helper()
		want := v.Apps()
		slices.SortFunc(want, func(a, b cf.App) int {
			return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.GUID, b.GUID))
		})
		got := v.AppsByCreation()
		if !slices.EqualFunc(got, want, func(a *cf.App, b cf.App) bool {
			return a.GUID == b.GUID && a.UpdatedAt.Equal(b.UpdatedAt) && a.Name == b.Name
		}) {
			t.Fatalf("%d apps in the order of creation are not the %d of the table, sorted", len(got), len(want))
		}
	}
	for i := range 200 {
		switch n := rng.IntN(4); {
		case n < 2 || len(alive) == 0:
			c := s.creation(fmt.Sprintf("%d-%d", rng.IntN(1000), i))
			if n == 0 { // many of one moment
				c.App.CreatedAt = c.App.CreatedAt.Truncate(1e12)
			}
			s.must(s.CreateApp(t.Context(), c))
			alive = append(alive, c.App.GUID)
		case n == 2:
			name := fmt.Sprint("other", i)
			_, err := s.UpdateApp(t.Context(), AppUpdate{GUID: alive[rng.IntN(len(alive))], Name: &name, At: s.at()})
			s.must(err)
		default:
			at := rng.IntN(len(alive))
			s.must(s.DeleteApp(t.Context(), Target{GUID: alive[at], At: s.at()}))
			alive = slices.Delete(alive, at, at+1)
		}
		check(s.Local())
		if i%50 == 0 {
			old = append(old, s.Local())
		}
	}
	for _, v := range old {
		check(v)
	}
	check(s.AsTerm(0).Local())
	if a, b := s.Local().AppsByCreation(), s.Local().AppsByCreation(); &a[0] != &b[0] {
		t.Error("two views of the same apps have walked the table twice")
	}
}

func TestAppsByCreationByMany(t *testing.T) {
	s := newShop(t)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for seen := 0; seen < 51; { // the shop has one
				v := s.Local()
				seen = len(v.AppsByCreation())
				if want := len(v.Apps()); seen != want {
					t.Errorf("%d apps by creation of %d", seen, want)
					return
				}
			}
		})
	}
	for i := range 50 {
		s.newApp(fmt.Sprint("app", i))
	}
	readers.Wait()
}
