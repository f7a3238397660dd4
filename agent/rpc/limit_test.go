package rpc

import (
	"net/netip"
	"testing"
	"time"
)

func addrOf(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func TestLimiterBoundsMemoryAndTotal(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLimiter(1, 2)
	allowed := 0
	for i := range 3 * maxLimited {
		if l.allow(addrOf(i), now) {
			allowed++
		}
		if len(l.addrs) > maxLimited {
			t.Fatalf("%d addresses remembered", len(l.addrs))
		}
	}
	if allowed != 100 { // fifty times the burst of one
		t.Errorf("%d calls allowed at once from many addresses, want 100", allowed)
	}
}

// An address that keeps hammering must not use up what others may do.
func TestLimiterIsPerAddress(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLimiter(1, 2)
	allowed := 0
	for range 10_000 {
		if l.allow(addrOf(1), now) {
			allowed++
		}
	}
	if allowed != 2 {
		t.Errorf("one address: %d calls, want 2", allowed)
	}
	if !l.allow(addrOf(2), now) {
		t.Error("another address pays for it")
	}
	if l.allow(addrOf(1), now.Add(500*time.Millisecond)) || !l.allow(addrOf(1), now.Add(1100*time.Millisecond)) {
		t.Error("the bucket does not fill at one a second")
	}
}
