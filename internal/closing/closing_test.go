package closing

import (
	"net"
	"testing"
	"time"
)

func TestTell(t *testing.T) {
	inner, other := net.Pipe()
	defer other.Close()
	told := 0
	c := Tell(inner, func() {
		told++
		if err := inner.SetDeadline(time.Time{}); err != nil {
			t.Error("told after it was closed")
		}
	})
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := inner.SetDeadline(time.Time{}); told != 1 || err == nil {
		t.Errorf("told %d times, the connection is closed: %v", told, err)
	}
}
