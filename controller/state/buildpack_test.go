package state

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/stackato/stackato/controller/cf"
)

// Positions are 1, 2, 3, … after every change, and the others keep their order.
func TestBuildpackPositions(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := NewMemory()
		var want []string // the model
		put := func(guid string, at int) {
			at = min(max(at, 1), len(want)+1) - 1
			want = slices.Insert(want, at, guid)
		}
		for i := range rapid.IntRange(1, 20).Draw(rt, "steps") {
			at := rapid.IntRange(-1, 12).Draw(rt, "position")
			switch op := rapid.IntRange(0, 3).Draw(rt, "operation"); {
			case op < 2 || len(want) == 0:
				guid := fmt.Sprint("b", i)
				if _, err := s.CreateBuildpack(t.Context(), cf.Buildpack{Resource: cf.Resource{GUID: guid}, Name: guid, Position: at}); err != nil {
					rt.Fatal(err)
				}
				put(guid, at)
			case op == 2:
				guid := rapid.SampledFrom(want).Draw(rt, "moved")
				if _, err := s.UpdateBuildpack(t.Context(), BuildpackUpdate{GUID: guid, Position: &at}); err != nil {
					rt.Fatal(err)
				}
				want = without(want, guid)
				put(guid, at)
			default:
				guid := rapid.SampledFrom(want).Draw(rt, "deleted")
				if err := s.DeleteBuildpack(t.Context(), Target{GUID: guid}); err != nil {
					rt.Fatal(err)
				}
				want = without(want, guid)
			}
			var got []string
			for i, b := range s.Local().Buildpacks() {
				if b.Position != i+1 {
					rt.Fatalf("%s is at %d, want %d", b.GUID, b.Position, i+1)
				}
				got = append(got, b.GUID)
			}
			if !slices.Equal(got, want) {
				rt.Fatalf("order %v, want %v", got, want)
			}
		}
	})
}
