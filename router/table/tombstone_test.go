package table

import (
	"strconv"
	"testing"
	"time"

	"github.com/stackato/stackato/wire/routing"
)

func TestTombstonesAreBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	tab := New(func() time.Time { return now })
	known := routing.Backend{AllocID: "known", Address: "10.0.0.1:2"}
	update := &routing.Update{
		Term: 1, Version: 1, Snapshot: true,
		Routes: []routing.Route{{Key: routing.Key{Host: "a"}, Backends: []routing.Backend{known}}},
	}
	if _, err := tab.Apply(update); err != nil {
		t.Fatal(err)
	}
	for i := range maxTombstones {
		tab.tombstones[routing.Withdrawal{AllocID: strconv.Itoa(i)}] = now
	}
	if _, err := tab.Withdraw(t.Context(), routing.Withdrawal{AllocID: "one more", Address: "10.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	if n := len(tab.tombstones); n != maxTombstones {
		t.Errorf("%d tombstones", n)
	}
	if _, err := tab.Withdraw(t.Context(), routing.Withdrawal{AllocID: "known", Address: known.Address}); err != nil {
		t.Fatal(err)
	}
	if _, err := tab.Lookup("a", "").Pick(&Choice{}); err == nil {
		t.Error("a known instance was not taken out")
	}
}
