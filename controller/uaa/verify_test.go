package uaa

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/controller/cf"
)

func TestTokensThatEnd(t *testing.T) {
	tests := []struct {
		name string
		end  func(h *harness, id string, session response)
	}{
		{"expired", func(h *harness, _ string, _ response) { h.clock.add(10 * time.Minute) }},
		{"logged out", func(h *harness, _ string, s response) {
			if r := h.call(s.text("access_token"), "DELETE", "/oauth/token/revoke/"+s.text("jti"), ""); r.status != 200 {
				h.Fatal(r.raw)
			}
			h.want(h.token("grant_type", "refresh_token", "refresh_token", s.text("refresh_token")), 401, "invalid_token", "Log in again")
		}},
		{"revoked by an administrator", func(h *harness, _ string, s response) {
			admin := h.as("admin", "secret").text("access_token")
			if r := h.call(admin, "DELETE", "/oauth/token/revoke/"+s.text("jti"), ""); r.status != 200 {
				h.Fatal(r.raw)
			}
		}},
		{"user deleted", func(h *harness, id string, s response) {
			admin := h.as("admin", "secret").text("access_token")
			if r := h.call(admin, "DELETE", "/Users/"+id, ""); r.status != 200 {
				h.Fatal(r.raw)
			}
			h.want(h.token("grant_type", "refresh_token", "refresh_token", s.text("refresh_token")), 401, "invalid_token", "Log in again")
		}},
		{"other password", func(h *harness, id string, s response) {
			if r := h.call(s.text("access_token"), "PUT", "/Users/"+id+"/password", `{"oldPassword":"pw","password":"new"}`); r.status != 200 {
				h.Fatal(r.raw)
			}
			h.want(h.token("grant_type", "refresh_token", "refresh_token", s.text("refresh_token")), 401, "invalid_token", "Log in again")
			h.as("bob", "new")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t)
			id := h.newUser("bob")
			session := h.as("bob", "pw")
			if !h.valid(session.text("access_token")) {
				t.Fatal("a new token is not valid")
			}
			tt.end(h, id, session)
			if h.valid(session.text("access_token")) {
				t.Error("the token is still valid")
			}
			h.want(h.call(session.text("access_token"), "GET", "/Users/"+id, ""), 401, "invalid_token", "Invalid access token")
		})
	}
}

func TestRevokeOfOthers(t *testing.T) {
	h := newHarness(t)
	h.newUser("bob")
	victim := h.as("admin", "secret")
	h.want(h.call(h.as("bob", "pw").text("access_token"), "DELETE", "/oauth/token/revoke/"+victim.text("jti"), ""), 403, "insufficient_scope", "")
	if !h.valid(victim.text("access_token")) {
		t.Error("bob logged the administrator out")
	}
}

// TestForgedTokens: none of these was signed by the service.
func TestForgedTokens(t *testing.T) {
	h := newHarness(t)
	good := h.as("admin", "secret").text("access_token")
	parts := strings.Split(good, ".")
	row := h.state.Local().SigningKeys()[0]
	public, err := h.s.keys.openPublic(row)
	if err != nil {
		t.Fatal(err)
	}
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := base64.RawURLEncoding.DecodeString(parts[1])
	forge := func(alg jose.SignatureAlgorithm, key any, kid string) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := s.Sign(data)
		if err != nil {
			t.Fatal(err)
		}
		out, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	claimed := map[string]any{}
	if err := json.Unmarshal(data, &claimed); err != nil {
		t.Fatal(err)
	}
	claimed["exp"] = float64(h.clock.read().Add(time.Hour).Unix())
	longer, _ := json.Marshal(claimed)
	enc := base64.RawURLEncoding.EncodeToString
	for name, token := range map[string]string{
		"empty":                       "",
		"no token":                    "a.b.c",
		"signature cut":               parts[0] + "." + parts[1] + ".",
		"other claims":                parts[0] + "." + enc(longer) + "." + parts[2],
		"no algorithm":                enc([]byte(`{"alg":"none","kid":"`+row.ID+`"}`)) + "." + parts[1] + ".",
		"public key as shared secret": forge(jose.HS256, public.N.Bytes(), row.ID),
		"other key":                   forge(jose.RS256, own, row.ID),
		"unknown key":                 forge(jose.RS256, own, "mine"),
		"other algorithm":             forge(jose.PS256, own, row.ID),
		"too long":                    good + strings.Repeat("A", maxToken),
		"JSON form":                   `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
	} {
		if h.valid(token) {
			t.Errorf("%s: taken", name)
		}
	}
	if !h.valid(good) {
		t.Error("the good one is refused")
	}
}

// TestOtherIssuer: a token of another cloud with the same keys.
func TestOtherIssuer(t *testing.T) {
	h := newHarness(t)
	token := h.as("admin", "secret").text("access_token")
	h.s.cfg.URL = "https://uaa.elsewhere"
	if h.valid(token) {
		t.Error("taken")
	}
}

func TestKeysRotate(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.KeyLife, c.KeyNotice = 24*time.Hour, time.Hour })
	kid := func(token string) string {
		head, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
		var v struct{ Kid, Alg, Typ string }
		if err := json.Unmarshal(head, &v); err != nil || v.Alg != "RS256" || v.Typ != "JWT" {
			t.Fatalf("header %s: %v", head, err)
		}
		return v.Kid
	}
	maintain := func(keys int) {
		t.Helper()
		if err := h.s.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		published := h.call("", "GET", "/token_keys", "").body["keys"].([]any)
		if len(published) != keys {
			t.Fatalf("%d keys are published, want %d", len(published), keys)
		}
	}
	maintain(1)
	first := h.as("admin", "secret").text("access_token")
	h.clock.add(24*time.Hour - 5*time.Minute)
	maintain(1)
	late := h.as("admin", "secret").text("access_token")
	h.clock.add(5 * time.Minute)
	maintain(2) // published, not used yet
	if got := kid(h.as("admin", "secret").text("access_token")); got != kid(first) {
		t.Error("the new key signs before its time")
	}
	h.clock.add(time.Minute)
	if !h.valid(late) {
		t.Error("a token of the older key is refused")
	}
	h.clock.add(time.Hour)
	next := h.as("admin", "secret").text("access_token")
	if kid(next) == kid(first) {
		t.Error("the old key still signs")
	}
	if r := h.call("", "GET", "/token_key", ""); r.text("kid") != kid(next) || r.text("alg") != "RS256" || !strings.HasPrefix(r.text("value"), "-----BEGIN PUBLIC KEY-----") {
		t.Errorf("token_key: %s", r.raw)
	}
	h.clock.add(maxAccessLife + 2*time.Hour)
	maintain(2) // the first is forgotten, a third is added
	if _, there := h.state.Local().SigningKey(kid(first)); there {
		t.Error("the first key is kept")
	}
}

// TestKeysAreSealed: rows hold no private key that can be read.
func TestKeysAreSealed(t *testing.T) {
	h := newHarness(t)
	row := h.state.Local().SigningKeys()[0]
	if _, err := newKeyring(h.s.cfg.Sealer).openPrivate(row); err != nil {
		t.Fatal(err)
	}
	if _, err := newKeyring(newBox(t)).openPrivate(row); err == nil {
		t.Error("another sealing key opens it")
	}
	moved := row
	moved.ID = "key-other"
	if _, err := newKeyring(h.s.cfg.Sealer).openPrivate(moved); err == nil {
		t.Error("it opens under another name")
	}
}

// TestMaintainTwice: two controllers begin at the same time.
func TestMaintainTwice(t *testing.T) {
	h := newHarness(t)
	one, two := New(h.s.cfg), New(h.s.cfg)
	done := make(chan error, 2)
	h.clock.add(31 * 24 * time.Hour)
	for _, s := range []*Server{one, two} {
		go func() { done <- s.Maintain(t.Context()) }()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := len(h.state.Local().SigningKeys()); n != 2 {
		t.Errorf("%d keys, want the old one and one new one", n)
	}
	if n := len(h.state.Local().Users()); n != 1 {
		t.Errorf("%d users, want the administrator", n)
	}
}

func TestFirstAdmin(t *testing.T) {
	h := newHarness(t)
	session := h.as("admin", "secret")
	id := payload(t, session.text("access_token"))["user_id"].(string)

	// cf passwd
	if r := h.call(session.text("access_token"), "PUT", "/Users/"+id+"/password", `{"oldPassword":"secret","password":"mine"}`); r.status != 200 {
		t.Fatal(r.raw)
	}
	h.want(h.logIn("admin", "secret"), 401, "unauthorized", "Bad credentials")
	session = h.as("admin", "mine")

	// kato user reset-admin
	h.admin.reset("fresh")
	if h.valid(session.text("access_token")) {
		t.Error("a token outlives the reset")
	}
	h.want(h.token("grant_type", "refresh_token", "refresh_token", session.text("refresh_token")), 401, "invalid_token", "Log in again")
	h.want(h.logIn("admin", "mine"), 401, "unauthorized", "Bad credentials")
	session = h.as("admin", "fresh")

	// cf passwd again
	if r := h.call(session.text("access_token"), "PUT", "/Users/"+id+"/password", `{"oldPassword":"fresh","password":"mine2"}`); r.status != 200 {
		t.Fatal(r.raw)
	}
	session = h.as("admin", "mine2")
	h.want(h.call(session.text("access_token"), "DELETE", "/Users/"+id, ""), 403, "access_denied", "cannot be deleted")
}

// TestLogInBeforeMaintain: a new cluster's first request may come before the
// Primary's first round.
func TestLogInBeforeMaintain(t *testing.T) {
	h := newHarness(t)
	h.s.cfg.State = newEmpty()
	h.as("admin", "secret")
	h.newUser("bob")
	h.as("bob", "pw")
}

func TestCheckTokenAndUserInfo(t *testing.T) {
	h := newHarness(t)
	h.newClient(cf.Client{ID: "resource", Grants: []string{grantClient}, Authorities: []string{"uaa.resource"}})
	h.newClient(cf.Client{ID: "other", Grants: []string{grantClient}, Authorities: []string{"x"}})
	session := h.as("admin", "secret")
	check := func(client, token string) response {
		r := form("/check_token", "token", token)
		r.SetBasicAuth(client, "cs")
		return h.send(r)
	}
	r := check("resource", session.text("access_token"))
	if r.status != 200 || r.text("user_name") != "admin" || r.text("jti") != session.text("jti") {
		t.Errorf("check_token: %s", r.raw)
	}
	h.want(check("resource", "x"), 400, "invalid_token", "malformed")
	h.want(check("other", session.text("access_token")), 403, "insufficient_scope", "")
	h.want(h.send(form("/check_token", "token", "x")), 401, "unauthorized", "")
	info := h.call(session.text("access_token"), "GET", "/userinfo", "")
	if info.text("user_name") != "admin" || info.text("user_id") == "" {
		t.Errorf("userinfo: %s", info.raw)
	}
	h.want(h.call("", "GET", "/userinfo", ""), 401, "unauthorized", "Full authentication")
}

func TestSSHCode(t *testing.T) {
	h := newHarness(t)
	id := h.newUser("bob")
	token := h.as("bob", "pw").text("access_token")
	code := func() string {
		t.Helper()
		r := h.call(token, "GET", "/oauth/authorize?response_type=code&client_id=ssh-proxy", "")
		_, code, ok := strings.Cut(r.header.Get("Location"), "https://uaa.test/?code=")
		if r.status != 302 || !ok || len(code) != 43 {
			t.Fatalf("%d %s %v", r.status, r.raw, r.header)
		}
		return code
	}
	c := code()
	who, err := h.s.ExchangeCode(t.Context(), "ssh-proxy", c)
	if err != nil || who.UserID != id || who.UserName != "bob" {
		t.Fatalf("%v, %v", who, err)
	}
	if diff := cmp.Diff([]string{"openid", "cloud_controller.read", "cloud_controller.write"}, who.Scopes); diff != "" {
		t.Error(diff)
	}
	if _, err := h.s.ExchangeCode(t.Context(), "ssh-proxy", c); err == nil {
		t.Error("a code is good twice")
	}
	c = code()
	if _, err := h.s.ExchangeCode(t.Context(), "cf", c); err == nil {
		t.Error("another client used the code")
	}
	h.clock.add(codeLife)
	if _, err := h.s.ExchangeCode(t.Context(), "ssh-proxy", c); err == nil {
		t.Error("an old code is good")
	}
	h.want(h.call(token, "GET", "/oauth/authorize?response_type=code&client_id=cf", ""), 401, "invalid_client", "cannot be given codes")
	h.want(h.call(token, "GET", "/oauth/authorize?response_type=token&client_id=ssh-proxy", ""), 400, "unsupported_response_type", "")
	h.want(h.call(token, "GET", "/oauth/authorize?response_type=code&client_id=ssh-proxy&redirect_uri=https://evil", ""), 400, "invalid_request", "redirect_uri")
	h.want(h.call("", "GET", "/oauth/authorize?response_type=code&client_id=ssh-proxy", ""), 401, "unauthorized", "")
}

func FuzzVerify(f *testing.F) {
	s := New(Config{State: newEmpty(), Sealer: newBox(f), Admin: &admin{}, URL: "https://uaa.test"})
	if err := s.Maintain(f.Context()); err != nil {
		f.Fatal(err)
	}
	view := s.cfg.State.Local()
	client, _ := view.Client("cf")
	ans, err := s.accessToken(view, grant{client: client, mark: mark("x"), scopes: []string{"openid"}, kind: grantClient})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ans.AccessToken)
	f.Add("a.b.c")
	f.Add(`{"payload":"","signatures":[]}`)
	f.Fuzz(func(t *testing.T, token string) {
		if who, err := s.Verify(t.Context(), token); err == nil {
			t.Errorf("taken: %v", who)
		}
	})
}

// BenchmarkVerify is what every request to the API pays for its token.
func BenchmarkVerify(b *testing.B) {
	s := New(Config{State: newEmpty(), Sealer: newBox(b), Admin: &admin{}, URL: "https://uaa.test"})
	if err := s.Maintain(b.Context()); err != nil {
		b.Fatal(err)
	}
	view := s.cfg.State.Local()
	client, _ := view.Client("cf")
	ans, err := s.accessToken(view, grant{client: client, mark: mark(""), scopes: AdminGroups, kind: grantClient})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Verify(b.Context(), ans.AccessToken); err != nil {
			b.Fatal(err)
		}
	}
}
