package api

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stackato/stackato/controller/cf"
)

func TestRequestsBeforeAnyResource(t *testing.T) {
	c := newCloud(t)
	for _, tt := range []struct {
		name, user, method, path string
		want                     *cf.Error // nil is 200
		detail                   string
	}{
		{"no token is needed for the root", "", "GET", "/", nil, ""},
		{"trailing slash", "", "GET", "/v3/info/", nil, ""},
		{"no token", "", "GET", "/v3/jobs/x", cf.ErrNotAuthenticated, ""},
		{"forged token", "forged", "GET", "/v3/jobs/x", cf.ErrInvalidAuthToken, ""},
		{"token without a scope", "scopeless", "GET", "/v3/jobs/x", errScope, ""},
		{"unknown job", "admin", "GET", "/v3/jobs/x", cf.ErrNotFound, "Job not found"},
		{"unknown path", "admin", "GET", "/v3/nothing", cf.ErrUnknownRequest, "Unknown request"},
		{"unknown method", "admin", "PUT", "/v3/jobs/x", cf.ErrUnknownRequest, "Unknown request"},
		{"path that leaves its folder", "admin", "GET", "/v3/../v3//info", cf.ErrUnknownRequest, ""},
		{"broken query", "admin", "GET", "/v3/info?a=%zz", cf.ErrBadQuery, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := c.as(tt.user, tt.method, tt.path, nil)
			got.t = t
			if got.header.Get("X-Vcap-Request-Id") == "" {
				t.Error("no X-Vcap-Request-Id")
			}
			if tt.want == nil {
				got.want(http.StatusOK)
			} else {
				got.fails(tt.want, tt.detail)
			}
		})
	}
}

func TestRootNamesTheServices(t *testing.T) {
	root := newCloud(t).as("", "GET", "/", nil).want(http.StatusOK)
	for path, want := range map[string]string{
		"links.cloud_controller_v3.href":         "http://api.stackato.test/v3",
		"links.cloud_controller_v3.meta.version": apiVersion,
		"links.uaa.href":                         "http://uaa.stackato.test",
		"links.log_cache.href":                   "http://log-cache.stackato.test",
		"links.app_ssh":                          "",
	} {
		if got := root.get(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}

func TestDecodeRefusals(t *testing.T) {
	type body struct {
		Name   string `json:"name"`
		Memory *int   `json:"memory_in_mb"`
	}
	for in, want := range map[string]string{
		`{"name":"a","memory_in_mb":1}`: "",
		``:                              "",
		`{"nam":"a"}`:                   "Unknown field(s): 'nam'",
		`{"memory_in_mb":"1"}`:          "Memory in mb must be a number",
		`{"name":1}`:                    "Name must be a string",
		`{"name":"a"} x`:                cf.ErrMessageParse.Detail,
		`{`:                             cf.ErrMessageParse.Detail,
		`[]`:                            "Request must be a hash",
	} {
		var b body
		got := ""
		if err := decodeJSON([]byte(in), &b); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestLargeBodyIsRefused(t *testing.T) {
	c := newCloud(t, func(c *Config) { c.Limits.Body = 100 })
	body := http.MaxBytesReader(nil, io.NopCloser(strings.NewReader(strings.Repeat(" ", 101))), c.api.Limits.Body)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&request{Request: r}).decode(&struct{}{}); !errors.Is(err, cf.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

// TestLargeBodyOfAnotherType: only uploads may be large, whatever a request
// calls its body; others are read into memory.
func TestLargeBodyOfAnotherType(t *testing.T) {
	c := newCloud(t, func(c *Config) { c.Limits.Body = 100 })
	for path, want := range map[string]bool{
		"/v3/apps": false, "/v3/resource_matches": false, "/v3/spaces/x/actions/apply_manifest": false,
		"/v3/packages/x/upload": true, "/v3/droplets/x/upload": true, "/v3/buildpacks/x/upload": true,
	} {
		r := httptest.NewRequest(http.MethodPost, path, nil)
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		if large := c.api.bodyLimit(r) > 100; large != want {
			t.Errorf("%s may have a large body: %v", path, large)
		}
	}
}
