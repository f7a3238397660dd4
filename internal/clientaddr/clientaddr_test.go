package clientaddr_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stackato/stackato/internal/clientaddr"
)

func TestOf(t *testing.T) {
	for _, tt := range []struct{ remote, forwarded, want string }{
		{"10.0.0.1:5", "", "10.0.0.1"},
		{"10.0.0.1:5", "1.2.3.4", "1.2.3.4"},
		{"10.0.0.1:5", "9.9.9.9, 1.2.3.4", "1.2.3.4"},
		{"[2001:db8::1]:5", "", "2001:db8::"},
		{"10.0.0.1:5", "2001:db8::2", "2001:db8::"},
		{"10.0.0.1:5", "evil", "unknown"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.RemoteAddr = tt.remote
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		if got := clientaddr.Of(r); got != tt.want {
			t.Errorf("%+v: got %s", tt, got)
		}
	}
}
