package uaa

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/controller/cf"
)

func TestPasswordGrant(t *testing.T) {
	h := newHarness(t)
	id := h.newUser("bob")
	r := h.as("BOB", "pw")
	c := payload(t, r.text("access_token"))
	user, _ := h.state.Local().User(id)
	got := map[string]any{"token_type": r.body["token_type"], "expires_in": r.body["expires_in"], "scope": r.body["scope"], "same jti": r.body["jti"] == c["jti"]}
	scopes := "openid cloud_controller.read cloud_controller.write password.write uaa.user scim.me network.write"
	want := map[string]any{"token_type": "bearer", "expires_in": 600.0, "scope": scopes, "same jti": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("answer:", diff)
	}
	now := float64(h.clock.read().Unix())
	for name, want := range map[string]any{
		"user_name": "bob", "user_id": id, "sub": id, "origin": "uaa", "client_id": "cf", "cid": "cf", "azp": "cf", "revocable": true,
		"grant_type": "password", "email": "bob", "iss": "https://uaa.test/oauth/token", "zid": "uaa",
		"iat": now, "exp": now + 600, "auth_time": now, "rev_sig": mark(user.Password),
		"aud": []any{"cf", "openid", "cloud_controller", "password", "uaa", "scim", "network"},
	} {
		if diff := cmp.Diff(want, c[name]); diff != "" {
			t.Errorf("claim %s: %s", name, diff)
		}
	}
	if r.header.Get("Cache-Control") != "no-store" {
		t.Error("a token may be cached")
	}
	who, err := h.s.Verify(t.Context(), r.text("access_token"))
	if err != nil {
		t.Fatal(err)
	}
	wantID := Identity{UserID: id, UserName: "bob", Origin: "uaa", ClientID: "cf", Scopes: strings.Fields(scopes), JTI: r.text("jti"), Expires: h.clock.read().Add(10 * time.Minute)}
	if diff := cmp.Diff(wantID, who); diff != "" {
		t.Error("identity:", diff)
	}
}

func TestAdministratorsScopes(t *testing.T) {
	h := newHarness(t)
	scopes := strings.Fields(h.as("admin", "secret").text("scope"))
	for _, scope := range append([]string{"openid", "cloud_controller.write"}, AdminGroups...) {
		if !slices.Contains(scopes, scope) {
			t.Errorf("the administrator lacks %s", scope)
		}
	}
	narrow := h.token("grant_type", "password", "username", "admin", "password", "secret", "scope", "openid scim.read nothing")
	if got := narrow.text("scope"); got != "openid scim.read" {
		t.Errorf("asked for less, got %q", got)
	}
}

func TestTokenRefusals(t *testing.T) {
	basic := func(user, password string, fields ...string) func() *http.Request {
		return func() *http.Request {
			r := form("/oauth/token", fields...)
			if user != "" {
				r.SetBasicAuth(user, password)
			}
			return r
		}
	}
	pw := []string{"grant_type", "password", "username", "bob", "password", "pw"}
	with := func(fields ...string) []string { return append(slices.Clone(pw), fields...) }
	withQuery := func(query string) func() *http.Request {
		return func() *http.Request {
			r := basic("cf", "", pw...)()
			r.URL.RawQuery = query
			return r
		}
	}
	tests := []struct {
		name string
		r    func() *http.Request
		code int
		err  string
		desc string
	}{
		{"wrong password", basic("cf", "", "grant_type", "password", "username", "bob", "password", "x"), 401, "unauthorized", "Bad credentials"},
		{"unknown user", basic("cf", "", "grant_type", "password", "username", "eve", "password", "pw"), 401, "unauthorized", "Bad credentials"},
		{"no password", basic("cf", "", "grant_type", "password", "username", "bob"), 401, "unauthorized", "Bad credentials"},
		{"long password", basic("cf", "", "grant_type", "password", "username", "bob", "password", strings.Repeat("x", 256)), 401, "unauthorized", "Bad credentials"},
		{"inactive user", basic("cf", "", "grant_type", "password", "username", "sleeper", "password", "pw"), 401, "unauthorized", "Bad credentials"},
		{"password in the URL", func() *http.Request {
			r := basic("cf", "", "grant_type", "password")()
			r.URL.RawQuery = "username=bob&password=pw"
			return r
		}, 401, "unauthorized", "Bad credentials"},
		{"no client", basic("", "", pw...), 401, "unauthorized", "credentials are missing"},
		{"unknown client", basic("nobody", "", pw...), 401, "invalid_client", "Bad credentials"},
		{"wrong client secret", basic("cf", "x", pw...), 401, "invalid_client", "Bad credentials"},
		{"client without this grant", basic("ssh-proxy", "", pw...), 401, "invalid_client", "Unauthorized grant type: password"},
		{"client cf by itself", basic("cf", "", "grant_type", "client_credentials"), 401, "invalid_client", "Unauthorized grant type"},
		{"no grant type", basic("cf", ""), 400, "invalid_request", "Missing grant type"},
		{"implicit", basic("cf", "", "grant_type", "implicit"), 400, "unsupported_grant_type", "Unsupported grant type: implicit"},
		{"jwt-bearer", basic("cf", "", "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion", "x"), 400, "unsupported_grant_type", "jwt-bearer"},
		{"code", basic("ssh-proxy", "", "grant_type", "authorization_code", "code", "x"), 400, "unsupported_grant_type", "inside of the cluster"},
		{"passcode", basic("cf", "", with("passcode", "123")...), 401, "unauthorized", "passcodes are not there yet"},
		{"other origin", basic("cf", "", with("login_hint", `{"origin":"ldap"}`)...), 401, "unauthorized", "login hint is invalid"},
		{"other origin in the URL", withQuery("login_hint=%7B%22origin%22%3A%22ldap%22%7D"), 401, "unauthorized", "login hint is invalid"},
		{"hint is no JSON", basic("cf", "", with("login_hint", "uaa")...), 401, "unauthorized", "login hint is invalid"},
		{"scope of administrators", basic("cf", "", with("scope", "cloud_controller.admin")...), 400, "invalid_scope", "cloud_controller.admin"},
		{"refresh without token", basic("cf", "", "grant_type", "refresh_token"), 400, "invalid_request", "refresh token is needed"},
		{"refresh with another token", basic("cf", "", "grant_type", "refresh_token", "refresh_token", "x"), 401, "invalid_token", "Log in again"},
		{"body too long", basic("cf", "", with("x", strings.Repeat("x", maxBody))...), 400, "invalid_request", "no form"},
	}
	h := newHarness(t)
	h.newUser("bob")
	h.addInactive("sleeper")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h.T = t
			h.s.lockout.succeeded("user bob")
			h.want(h.send(tt.r()), tt.code, tt.err, tt.desc)
		})
	}
	h.T = t
	if r := h.send(withQuery("login_hint=%7B%22origin%22%3A%22uaa%22%7D")()); r.status != 200 {
		t.Errorf("the origin uaa is refused: %s", r.raw)
	}
}

func (h *harness) addInactive(name string) {
	h.Helper()
	hash, err := h.s.hasher.hash(h.Context(), "pw")
	if err != nil {
		h.Fatal(err)
	}
	u := cf.User{Resource: cf.Resource{GUID: name}, UserName: name, Origin: OriginUAA, Password: hash, Inactive: true}
	if err := h.state.CreateUser(h.Context(), u); err != nil {
		h.Fatal(err)
	}
}

func TestRefreshTokensRotate(t *testing.T) {
	h := newHarness(t)
	h.newUser("bob")
	first := h.as("bob", "pw")
	refresh := func(r response) response {
		return h.token("grant_type", "refresh_token", "refresh_token", r.text("refresh_token"))
	}
	h.clock.add(9 * time.Minute)
	second := refresh(first)
	if second.status != 200 || second.text("refresh_token") == first.text("refresh_token") || second.text("access_token") == first.text("access_token") {
		t.Fatalf("refresh: %s", second.raw)
	}
	// Another process of the user still holds the first one.
	h.clock.add(20 * time.Minute)
	if r := refresh(first); r.status != 200 {
		t.Errorf("within the grace: %s", r.raw)
	}
	h.clock.add(20 * time.Minute)
	h.want(refresh(first), 401, "invalid_token", "Log in again")
	third := refresh(second)
	if third.status != 200 {
		t.Fatalf("the second: %s", third.raw)
	}
	h.clock.add(31 * 24 * time.Hour)
	h.want(refresh(third), 401, "invalid_token", "Log in again")

	// Nothing of a token can be read from the state.
	for _, row := range h.state.Local().RefreshTokensOfUser(payload(t, first.text("access_token"))["user_id"].(string)) {
		if strings.Contains(row.Hash, first.text("refresh_token")) {
			t.Error("a refresh token is in the state")
		}
	}
	// What has expired is forgotten by the next log-in.
	h.as("bob", "pw")
	if n := len(h.state.Local().RefreshTokensOfUser(payload(t, first.text("access_token"))["user_id"].(string))); n != 1 {
		t.Errorf("%d refresh tokens are kept, want the new one", n)
	}
}

func TestRefreshOfAnotherClient(t *testing.T) {
	h := newHarness(t)
	h.newClient(cf.Client{ID: "other", Grants: []string{grantRefresh}, Scopes: defaultScopes})
	r := form("/oauth/token", "grant_type", "refresh_token", "refresh_token", h.as("admin", "secret").text("refresh_token"))
	r.SetBasicAuth("other", "cs")
	h.want(h.send(r), 401, "invalid_token", "Log in again")
}

func TestClientCredentials(t *testing.T) {
	h := newHarness(t)
	h.newClient(cf.Client{ID: "ci", Grants: []string{grantClient}, Authorities: []string{"cloud_controller.read", "scim.read"}, AccessLife: time.Hour})
	r := h.send(form("/oauth/token", "grant_type", "client_credentials", "client_id", "ci", "client_secret", "cs"))
	if r.status != 200 || r.body["expires_in"] != 3600.0 || r.text("refresh_token") != "" || r.text("scope") != "cloud_controller.read scim.read" {
		t.Fatalf("got %s", r.raw)
	}
	c := payload(t, r.text("access_token"))
	for _, absent := range []string{"user_id", "user_name", "origin"} {
		if _, ok := c[absent]; ok {
			t.Errorf("a client's token has the claim %s", absent)
		}
	}
	who, err := h.s.Verify(t.Context(), r.text("access_token"))
	if err != nil || who.ClientID != "ci" || who.UserID != "" {
		t.Errorf("identity %v, %v", who, err)
	}
	for range 5 {
		h.want(h.send(form("/oauth/token", "grant_type", "client_credentials", "client_id", "ci", "client_secret", "no")), 401, "invalid_client", "Bad credentials")
	}
	h.want(h.send(form("/oauth/token", "grant_type", "client_credentials", "client_id", "ci", "client_secret", "cs")), 401, "invalid_client", "locked")
	if err := h.state.DeleteClient(t.Context(), "ci"); err != nil {
		t.Fatal(err)
	}
	if h.valid(r.text("access_token")) {
		t.Error("the token of a deleted client is good")
	}
}

func TestLockout(t *testing.T) {
	h := newHarness(t)
	h.newUser("bob")
	for _, name := range []string{"bob", "nobody"} {
		for range 4 {
			h.want(h.logIn(name, "x"), 401, "unauthorized", "Bad credentials")
		}
	}
	h.as("bob", "pw") // counts from 0 again
	for _, name := range []string{"bob", "nobody"} {
		for range 5 {
			h.logIn(strings.ToUpper(name), "x")
		}
		// The right password does not help, and nobody learns who exists.
		h.want(h.logIn(name, "pw"), 401, "unauthorized", lockedText)
	}
	h.as("admin", "secret")
	h.clock.add(5 * time.Minute)
	h.as("bob", "pw")
}

// TestGuessesAtTheSameTime: what waited for its turn does not count as tried
// before the lock.
func TestGuessesAtTheSameTime(t *testing.T) {
	h := newHarness(t)
	h.newUser("bob")
	h.s.hasher.patient = time.Hour    // until all have come
	for range cap(h.s.hasher.slots) { // nothing is computed yet
		h.s.hasher.slots <- struct{}{}
	}
	const guesses = 30
	answers := make(chan string, guesses)
	for range guesses {
		go func() { answers <- h.logIn("bob", "x").text("error_description") }()
	}
	for len(h.s.hasher.waiting) < guesses {
		time.Sleep(time.Millisecond)
	}
	for range cap(h.s.hasher.slots) {
		<-h.s.hasher.slots
	}
	tried := 0
	for range guesses {
		if <-answers == "Bad credentials" {
			tried++
		}
	}
	if most := 5 + cap(h.s.hasher.slots); tried > most {
		t.Errorf("%d passwords were tried, want at most %d", tried, most)
	}
}

func TestLockoutIsBounded(t *testing.T) {
	l := newLockout(2, time.Minute)
	now := time.Now()
	l.failed("victim", now)
	l.failed("victim", now)
	for i := range 2 * maxRecords {
		l.failed(randomID(), now.Add(time.Duration(i)))
	}
	if n := len(l.users); n > maxRecords {
		t.Errorf("%d records", n)
	}
	if !l.locked("victim", now) {
		t.Error("a flood of names unlocked a user")
	}
}

func TestThrottle(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Rate, c.Burst = 1, 3 })
	from := func(forwarded string) response {
		r := form("/oauth/token", "grant_type", "password", "username", "admin", "password", "secret")
		r.SetBasicAuth("cf", "")
		r.Header.Set("X-Forwarded-For", forwarded)
		return h.send(r)
	}
	for range 3 {
		if r := from("10.1.1.1"); r.status != 200 {
			t.Fatal(r.raw)
		}
	}
	// What the client itself wrote in front does not help it.
	r := from("6.6.6.6, 10.1.1.1")
	h.want(r, 429, "too_many_requests", "Try again")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if r := from("10.1.1.2"); r.status != 200 {
		t.Error("another address:", r.raw)
	}
	h.clock.add(time.Second)
	if r := from("10.1.1.1"); r.status != 200 {
		t.Error("a second later:", r.raw)
	}
}

func TestThrottleIsBounded(t *testing.T) {
	th := newThrottle(1, 2)
	now := time.Now()
	for range 2 * maxRecords {
		th.allow(randomID(), now)
	}
	if n := len(th.limiters); n > maxRecords {
		t.Errorf("%d limiters", n)
	}
}
