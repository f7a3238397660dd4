package uaa

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/rpcerr"
)

func newEmpty() *state.Store { return state.NewMemory() }

func TestUsers(t *testing.T) {
	h := newHarness(t)
	id := h.newUser("bob@example.com")
	token := h.as("admin", "secret").text("access_token")

	got := h.call(token, "GET", "/Users/"+id, "")
	want := map[string]any{
		"id": id, "userName": "bob@example.com", "origin": "uaa", "zoneId": "uaa", "active": true, "verified": true,
		"name":    map[string]any{"familyName": "F", "givenName": "G"},
		"emails":  []any{map[string]any{"value": "bob@example.com", "primary": true}},
		"schemas": []any{"urn:scim:schemas:core:1.0"},
	}
	for k, v := range want {
		if diff := cmp.Diff(v, got.body[k]); diff != "" {
			t.Errorf("%s: %s", k, diff)
		}
	}
	if strings.Contains(got.raw, "argon2id") || strings.Contains(got.raw, `"password"`) {
		t.Error("the password's hash is shown")
	}

	r := h.call(token, "POST", "/Users", `{"userName":"BOB@example.com","password":"pw","emails":[{"value":"x"}]}`)
	h.want(r, 409, "scim_resource_already_exists", "Username already in use: BOB@example.com")
	if r.text("user_id") != id {
		t.Error("the conflict does not say whose name it is")
	}
	if r := h.call(token, "DELETE", "/Users/"+id, ""); r.status != 200 || r.text("id") != id {
		t.Errorf("delete: %d %s", r.status, r.raw)
	}
	h.want(h.call(token, "DELETE", "/Users/"+id, ""), 404, "scim_resource_not_found", "User "+id+" does not exist")
	h.want(h.call(token, "GET", "/Users/"+id, ""), 404, "scim_resource_not_found", "does not exist")
	h.want(h.logIn("bob@example.com", "pw"), 401, "unauthorized", "Bad credentials")
}

func TestUserRefusals(t *testing.T) {
	h := newHarness(t)
	id := h.newUser("bob")
	admin, bob := h.as("admin", "secret").text("access_token"), h.as("bob", "pw").text("access_token")
	self := payload(t, admin)["user_id"].(string)
	tests := []struct {
		name, token, method, path, body string
		status                          int
		code, desc                      string
	}{
		{"no token", "", "GET", "/Users", "", 401, "unauthorized", "Full authentication"},
		{"list without scope", bob, "GET", "/Users", "", 403, "insufficient_scope", "Insufficient scope"},
		{"create without scope", bob, "POST", "/Users", "{}", 403, "insufficient_scope", ""},
		{"delete without scope", bob, "DELETE", "/Users/" + id, "", 403, "insufficient_scope", ""},
		{"see another one", bob, "GET", "/Users/" + self, "", 403, "insufficient_scope", ""},
		{"clients without scope", bob, "GET", "/oauth/clients/cf", "", 403, "insufficient_scope", ""},
		{"no JSON", admin, "POST", "/Users", "{", 400, "invalid_request", "no valid JSON"},
		{"two objects", admin, "POST", "/Users", "{}{}", 400, "invalid_request", "follows"},
		{"no name", admin, "POST", "/Users", `{"password":"x","emails":[{"value":"x"}]}`, 400, "invalid_scim_resource", "username"},
		{"bad name", admin, "POST", "/Users", `{"userName":"a b","password":"x","emails":[{"value":"x"}]}`, 400, "invalid_scim_resource", "must match"},
		{"long name", admin, "POST", "/Users", `{"userName":"` + strings.Repeat("a", 256) + `","password":"x","emails":[{"value":"x"}]}`, 400, "invalid_scim_resource", "at most 255"},
		{"no email", admin, "POST", "/Users", `{"userName":"x","password":"x"}`, 400, "invalid_scim_resource", "email"},
		{"no password", admin, "POST", "/Users", `{"userName":"x","emails":[{"value":"x"}]}`, 400, "invalid_password", "must be provided"},
		{"long password", admin, "POST", "/Users", `{"userName":"x","emails":[{"value":"x"}],"password":"` + strings.Repeat("x", 256) + `"}`, 400, "invalid_password", "no more than 255"},
		{"foreign with password", admin, "POST", "/Users", `{"userName":"x","origin":"ldap","emails":[{"value":"x"}],"password":"x"}`, 400, "invalid_scim_resource", "no password here"},
		{"filter", admin, "GET", "/Users?filter=shoe+eq+%2243%22", "", 400, "scim", "Invalid filter"},
		{"password of another one", bob, "PUT", "/Users/" + self + "/password", `{"oldPassword":"pw","password":"n"}`, 403, "insufficient_scope", ""},
		{"wrong old password", bob, "PUT", "/Users/" + id + "/password", `{"oldPassword":"no","password":"n"}`, 401, "unauthorized", "Old password is incorrect"},
		{"same password", bob, "PUT", "/Users/" + id + "/password", `{"oldPassword":"pw","password":"pw"}`, 422, "invalid_password", "same as the old"},
		{"empty password", bob, "PUT", "/Users/" + id + "/password", `{"oldPassword":"pw"}`, 400, "invalid_password", "must be provided"},
		{"password of nobody", admin, "PUT", "/Users/nobody/password", `{"password":"n"}`, 404, "scim_resource_not_found", ""},
		{"unknown client", admin, "GET", "/oauth/clients/nobody", "", 404, "not_found", "No client with requested id: nobody"},
		{"unknown path", admin, "GET", "/IdentityZones", "", 404, "not_found", "no such resource"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h.T = t
			h.want(h.call(tt.token, tt.method, tt.path, tt.body), tt.status, tt.code, tt.desc)
		})
	}
	h.T = t
	if r := h.call(bob, "GET", "/Users/"+id, ""); r.status != 200 {
		t.Errorf("one's own: %s", r.raw)
	}
	if r := h.call(admin, "PUT", "/Users/"+id+"/password", `{"password":"set"}`); r.status != 200 {
		t.Errorf("by an administrator: %s", r.raw)
	}
	h.as("bob", "set")
	if r := h.call(admin, "GET", "/oauth/clients/cf", ""); r.text("client_id") != "cf" || strings.Contains(r.raw, "secret") {
		t.Errorf("client: %s", r.raw)
	}
}

func TestListUsers(t *testing.T) {
	h := newHarness(t)
	h.clock.add(time.Second)
	for _, name := range []string{"ann", "bob", "o'neill"} {
		h.newUser(name)
		h.clock.add(time.Second)
	}
	token := h.as("admin", "secret").text("access_token")
	if r := h.call(token, "POST", "/Users", `{"userName":"bob","origin":"ldap","emails":[{"value":"b"}]}`); r.status != 201 {
		t.Fatal(r.raw)
	}
	tests := []struct {
		filter, query string
		want          []string
		total         float64
	}{
		{"", "", []string{"admin/uaa", "ann/uaa", "bob/uaa", "o'neill/uaa", "bob/ldap"}, 5},
		{`userName eq "bob"`, "", []string{"bob/uaa", "bob/ldap"}, 2},
		{`userName eq "BOB" and origin eq "uaa"`, "", []string{"bob/uaa"}, 1},
		{`userName eq "bob" and origin eq "saml"`, "", nil, 0},
		{`userName eq "o'neill"`, "", []string{"o'neill/uaa"}, 1},
		{`username eq 'ann' or username eq "bob" and origin eq "ldap"`, "", []string{"ann/uaa", "bob/ldap"}, 2},
		{`userName sw "a"`, "", []string{"admin/uaa", "ann/uaa"}, 2},
		{`userName co "nn"`, "", []string{"ann/uaa"}, 1},
		{`emails.value eq "b"`, "", []string{"bob/ldap"}, 1},
		{`active eq true and id pr`, "&count=2&startIndex=2", []string{"ann/uaa", "bob/uaa"}, 5},
		{"", "&startIndex=50", nil, 5},
	}
	for _, tt := range tests {
		r := h.call(token, "GET", "/Users?filter="+url.QueryEscape(tt.filter)+tt.query, "")
		var got []string
		list, _ := r.body["resources"].([]any)
		for _, v := range list {
			u := v.(map[string]any)
			got = append(got, u["userName"].(string)+"/"+u["origin"].(string))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || r.body["totalResults"] != tt.total || list == nil {
			t.Errorf("%s: %s", tt.filter, diff)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add(`userName eq "bob" and origin eq "uaa"`)
	f.Add(`id pr or emails.value co 'x\'y'`)
	f.Add(`userName eq "`)
	f.Fuzz(func(_ *testing.T, text string) {
		if match, err := parseFilter(text, userAttributes); err == nil {
			match(cf.User{UserName: "bob", Origin: "uaa"})
		}
	})
}

func TestPasswordHashes(t *testing.T) {
	h := newHasher(cost{memory: 8, time: 1, threads: 1}, 1, 1, time.Second)
	hash, err := h.hash(t.Context(), "right")
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.hash(t.Context(), "right")
	if err != nil || other == hash {
		t.Errorf("no salt: %v", err)
	}
	// As agent/cluster makes the first administrator's.
	agent := "$argon2id$v=19$m=65536,t=3,p=2$"
	for _, tt := range []struct {
		password, hash string
		want, err      bool
	}{
		{"right", hash, true, false},
		{"wrong", hash, false, false},
		{"", hash, false, false},
		{"right", "", false, false},
		{"", "", false, false},
		{"x", h.dummy, false, false},
		{"x", "plain", false, true},
		{"x", "$argon2i$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", false, true},
		{"x", strings.Replace(h.dummy, "m=8", "m=999999999", 1), false, true},
		{"x", strings.Replace(h.dummy, "t=1", "t=99", 1), false, true},
		{"x", strings.Replace(h.dummy, "p=1", "p=0", 1), false, true},
		{"x", agent + "AAAA$AAAA", false, true},
	} {
		got, err := h.check(t.Context(), open, tt.password, tt.hash)
		if got != tt.want || (err != nil) != tt.err {
			t.Errorf("%q against %q: %v, %v", tt.password, tt.hash, got, err)
		}
	}
}

// TestHasherIsBounded: more log-ins than slots wait, more than the queue are
// refused at once.
func TestHasherIsBounded(t *testing.T) {
	h := newHasher(cost{memory: 8, time: 1, threads: 1}, 1, 1, time.Hour)
	begun, release := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() { first <- h.do(t.Context(), open, func() { close(begun); <-release }) }()
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() { second <- h.do(ctx, open, func() {}) }()
	for len(h.waiting) < 2 {
		time.Sleep(time.Millisecond)
	}
	if _, err := h.check(t.Context(), open, "x", ""); !errors.Is(err, errBusy) {
		t.Errorf("the third: %v, want errBusy", err)
	}
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("the second: %v", err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	h.patient = time.Millisecond
	h.slots <- struct{}{}
	if err := h.do(t.Context(), open, func() {}); !errors.Is(err, errBusy) {
		t.Errorf("no more patience: %v, want errBusy", err)
	}
	if f, internal := asFailure(errBusy); f.status != 503 || internal {
		t.Errorf("errBusy is %d", f.status)
	}
}

func TestLoginPage(t *testing.T) {
	h := newHarness(t)
	for _, path := range []string{"/", "/login", "/info"} {
		r := h.call("", "GET", path, "")
		prompts, _ := r.body["prompts"].(map[string]any)
		if diff := cmp.Diff([]any{"password", "Password"}, prompts["password"]); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		app, _ := r.body["app"].(map[string]any)
		if v, _ := app["version"].(string); !slices.Contains([]string{"77.0.0"}, v) {
			t.Errorf("version %q", v)
		}
	}
	c := h.call("", "GET", "/.well-known/openid-configuration", "")
	if c.text("issuer") != "https://uaa.test/oauth/token" || c.text("jwks_uri") != "https://uaa.test/token_keys" {
		t.Errorf("discovery: %s", c.raw)
	}
	if r := h.call("", "GET", "/healthz", ""); r.status != 200 || r.raw != "ok" {
		t.Errorf("healthz: %d %s", r.status, r.raw)
	}
}

// headless is a log without a Primary.
type headless struct{ state.Log }

func (headless) ReadIndex(context.Context) error {
	return rpcerr.New(rpcerr.Unavailable, "no leader")
}

// TestNoPrimary: without the state the service says so, in UAA's form.
func TestNoPrimary(t *testing.T) {
	h := newHarness(t)
	h.s.cfg.State = state.New(headless{})
	h.want(h.logIn("admin", "secret"), 503, "temporarily_unavailable", "Primary")
}
