package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// cloud is an API over a state of its own.
type cloud struct {
	t      *testing.T
	api    *API
	store  *state.Store
	server *httptest.Server
	clock  *clock
}

// clock moves by a second whenever it is read, so that "created_at" orders.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Second)
	return c.now
}

// tokens is a Verifier whose token is the user's name: "admin" is an
// administrator, "root-reader" a global auditor, "forged" is refused.
type tokens struct{}

func (tokens) Verify(_ context.Context, bearer string) (Identity, error) {
	id := Identity{UserID: bearer + "-guid", UserName: bearer, Origin: "uaa", ClientID: "cf", Scopes: []string{auth.ScopeRead, auth.ScopeWrite}}
	switch bearer {
	case "forged":
		return Identity{}, errors.New("forged")
	case "admin":
		id.Scopes = append(id.Scopes, auth.ScopeAdmin)
	case "global-auditor":
		id.Scopes = append(id.Scopes, auth.ScopeGlobalAuditor)
	case "scopeless":
		id.Scopes = []string{"openid"}
	}
	return id, nil
}

// newCloud starts an API; with change Config can be changed before.
func newCloud(t *testing.T, change ...func(*Config)) *cloud {
	t.Helper()
	store := state.NewMemory()
	c := &cloud{t: t, store: store, clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	config := Config{State: store, Verify: tokens{}, Domain: "stackato.test", ExternalURL: "http://api.stackato.test", Now: c.clock.read}
	config.Links = Links{Login: "http://login.stackato.test", UAA: "http://uaa.stackato.test", LogCache: "http://log-cache.stackato.test"}
	for _, f := range change {
		f(&config)
	}
	c.api = New(config)
	c.server = httptest.NewServer(c.api.Handler())
	t.Cleanup(c.server.Close)
	return c
}

// answer is what came back.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   []byte
}

// as sends a request with a user's token ("" is none). Body is nil, a string
// sent as it is, or anything else sent as JSON.
func (c *cloud) as(user, method, path string, body any) answer {
	c.t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.server.URL+path, in)
	if err != nil {
		c.t.Fatal(err)
	}
	if user != "" {
		req.Header.Set("Authorization", "bearer "+user)
	}
	resp, err := c.server.Client().Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{c.t, user + ": " + method + " " + path, resp.StatusCode, resp.Header, data}
}

// admin sends a request as administrator.
func (c *cloud) admin(method, path string, body any) answer {
	c.t.Helper()
	return c.as("admin", method, path, body)
}

// want ends the test unless the status is as wanted.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d: %s", a.what, a.status, status, a.body)
	}
	return a
}

// get returns a value of the JSON body by a path of keys and indexes, as
// text; "" if there is none or null.
func (a answer) get(path string) string {
	a.t.Helper()
	var v any
	if err := json.Unmarshal(a.body, &v); err != nil {
		a.t.Fatalf("%s: %v: %s", a.what, err, a.body)
	}
	for _, key := range strings.Split(path, ".") {
		switch node := v.(type) {
		case map[string]any:
			v = node[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(node) {
				return ""
			}
			v = node[i]
		default:
			return ""
		}
	}
	if v == nil {
		return ""
	}
	if s, isString := v.(string); isString {
		return s
	}
	data, err := json.Marshal(v)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(data)
}

// guid is the resource's guid.
func (a answer) guid() string {
	a.t.Helper()
	return cmp.Or(a.get("guid"), "(none)")
}

// names lists a field of all resources of a list, separated by spaces.
func (a answer) names(field string) string {
	a.t.Helper()
	var out []string
	for i := 0; ; i++ {
		if a.get(fmt.Sprintf("resources.%d", i)) == "" {
			return strings.Join(out, " ")
		}
		out = append(out, a.get(fmt.Sprintf("resources.%d.%s", i, field)))
	}
}

// fails ends the test unless the answer is that error; detail may be "".
func (a answer) fails(want *cf.Error, detail string) {
	a.t.Helper()
	a.want(want.Status)
	if got := a.get("errors.0.title"); got != want.Title {
		a.t.Fatalf("%s: title %s, want %s: %s", a.what, got, want.Title, a.body)
	}
	if got := a.get("errors.0.detail"); detail != "" && got != detail {
		a.t.Fatalf("%s: detail %q, want %q", a.what, got, detail)
	}
}

// job follows the answer's Location and returns the job.
func (c *cloud) job(a answer) answer {
	c.t.Helper()
	location := a.want(http.StatusAccepted).header.Get("Location")
	path, found := strings.CutPrefix(location, c.api.ExternalURL)
	if !found {
		c.t.Fatalf("%s: Location %q is not below %s", a.what, location, c.api.ExternalURL)
	}
	return c.admin("GET", path, nil).want(http.StatusOK)
}
