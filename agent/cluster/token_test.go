package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

const testDigest = "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func TestJoinSecretRoundTrip(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		s := NewJoinSecret(testDigest)
		got, err := ParseJoinSecret("\n " + s.Encode() + "\r\n")
		if err != nil || got != s {
			t.Fatalf("%s: %+v, %v", s.Encode(), got, err)
		}
		if seen[s.Secret] || seen[s.ID] {
			t.Fatal("a secret came twice")
		}
		seen[s.Secret], seen[s.ID] = true, true
	}
}

func TestParseJoinSecretRefusals(t *testing.T) {
	s := NewJoinSecret(testDigest)
	good := s.Encode()
	const message, hint = "this is not a join token", `it begins with "stk1." and is one line; make one on a controller: stackato-agent token create`
	for name, text := range map[string]string{
		"another prefix":     strings.Replace(good, "stk1", "stk2", 1),
		"upper case":         strings.ToUpper(good),
		"a part more":        good + ".a",
		"a part less":        good[:strings.LastIndex(good, ".")],
		"a character more":   good + "a",
		"a character less":   good[:len(good)-1],
		"two lines":          good[:60] + "\n" + good[60:],
		"a short secret":     "stk1." + s.ID + "." + s.Secret[:8] + "." + good[strings.LastIndex(good, ".")+1:],
		"not its alphabet":   strings.Replace(good, s.Secret, strings.Repeat("1", len(s.Secret)), 1),
		"very long":          good + strings.Repeat(" ", 10) + strings.Repeat("a", 1<<20),
		"unused bits are on": good[:len(good)-1] + "b",
	} {
		_, err := ParseJoinSecret(text)
		t.Run(name, func(t *testing.T) { wantError(t, err, rpcerr.Invalid, message, hint) })
	}
	_, err := ParseJoinSecret(" \n")
	wantError(t, err, rpcerr.Invalid, "no join token", "make one on a controller (stackato-agent token create) and give it with --token-file")
}

func FuzzParseJoinSecret(f *testing.F) {
	f.Add(NewJoinSecret(testDigest).Encode())
	f.Add("stk1...")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseJoinSecret(text)
		if err == nil && s.Encode() != strings.TrimSpace(text) {
			t.Fatalf("%q is read as %q", text, s.Encode())
		}
		if err != nil && len(strings.TrimSpace(text)) > 8 && strings.Contains(err.Error(), strings.TrimSpace(text)) {
			t.Fatalf("the error shows the token: %v", err)
		}
	})
}

func TestJoinSecretIsNeverShown(t *testing.T) {
	s := NewJoinSecret(testDigest)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10v"} {
		for _, v := range []any{s, &s, struct{ S JoinSecret }{s}, []JoinSecret{s}} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, s.Secret) || strings.Contains(text, fmt.Sprintf("%x", s.Secret)) {
				t.Errorf("%s of %T shows the secret: %s", verb, v, text)
			}
		}
	}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "token", s)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "token", s)
	if strings.Contains(out.String(), s.Secret) || !strings.Contains(out.String(), s.ID) {
		t.Errorf("log: %s", &out)
	}
}

func TestAssignmentSecretsAreNeverShown(t *testing.T) {
	a := Assignment{Self: node.Node{Name: "n"}, ConsulToken: "S3CRET", Controller: &ControllerSecrets{ConsulManagement: "S3CRET"}}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v %d", a, a, a, &a)
	fmt.Fprintf(&out, "%v %+v", JoinResponse{Assignment: a}, &JoinResponse{Assignment: a})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "a", a)
	if strings.Contains(out.String(), "S3CRET") {
		t.Error(out.String())
	}
}

func TestCreateToken(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	for _, tt := range []struct {
		ttl     time.Duration
		uses    int
		message string
	}{
		{time.Second - 1, 1, "a token lasts from 1 second to 365 days, not 999.999999ms"},
		{-time.Hour, 1, "a token lasts from 1 second to 365 days, not -1h0m0s"},
		{maxTokenTTL + 1, 1, "a token lasts from 1 second to 365 days, not 8760h0m0.000000001s"},
		{0, -1, "a token has 1 to 10000 uses, not -1"},
		{0, maxTokenUses + 1, "a token has 1 to 10000 uses, not 10001"},
	} {
		m.unchanged(func() {
			_, _, err := m.CreateToken(ctx, 0, tt.ttl, tt.uses)
			wantError(t, err, rpcerr.Invalid, tt.message, "")
		})
	}
	row, secret, err := m.CreateToken(ctx, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if row.Uses != 1 || row.ExpiresAt.Sub(m.time.Now()) != DefaultTokenTTL || row.Roles.Has(node.Controller) || !row.Roles.Has(node.DEA) {
		t.Errorf("defaults: %+v", row)
	}
	if ca := Authorities(m.view(), "cluster")[0]; secret.Digest != ca.Digest {
		t.Errorf("digest %s, want %s", secret.Digest, ca.Digest)
	}
	if _, _, err := m.CreateToken(ctx, node.NewRoleSet(node.Controller), maxTokenTTL, maxTokenUses); err != nil {
		t.Error(err)
	}
	list, err := m.ListTokens(ctx)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d tokens, %v", len(list), err)
	}
	text, err := json.Marshal(list)
	if err != nil || bytes.Contains(text, []byte(secret.Secret)) {
		t.Errorf("a row holds the secret: %s, %v", text, err)
	}
	err = m.RevokeToken(ctx, "nobody")
	wantError(t, err, rpcerr.NotFound, `no join token "nobody"`, "see: kato token list")
}

func TestTokenLimitAndSweep(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	now := m.time.Now()
	put := func(id string, ends time.Duration) error {
		_, err := cmdTokenPut.Propose(ctx, m.cons, Token{ID: id, Uses: 1, CreatedAt: now, ExpiresAt: now.Add(ends)})
		return err
	}
	inParallel(maxTokens, func(i int) {
		if err := put(fmt.Sprintf("t%d", i), time.Hour*time.Duration(1+i%2*1000)); err != nil {
			t.Error(err)
		}
	})
	m.unchanged(func() {
		wantError(t, put("one more", time.Hour), rpcerr.Exhausted, "there are 1000 join tokens already",
			"revoke those that are not needed (kato token list); they are forgotten after a day")
		wantError(t, put("t1", time.Hour), rpcerr.Conflict, "a join token t1 exists", "try again")
	})
	if err := m.RevokeToken(ctx, "t1"); err != nil { // one that lasts long
		t.Fatal(err)
	}
	p := &Primary{Controller: m.Controller}
	term := m.cons.LeadTerm()
	for _, tt := range []struct {
		after time.Duration
		left  int
	}{
		{0, maxTokens},
		{tokenRest, maxTokens},       // dead, but still to be shown
		{time.Second, maxTokens - 1}, // the revoked one
		{time.Hour, maxTokens/2 - 1}, // the expired ones
		{2000 * time.Hour, 0},        // all
		{time.Hour, 0},               // nothing to do
	} {
		m.time.add(tt.after)
		before := m.cons.Stats().LastIndex
		if err := p.sweep(ctx, term, m.time.Now()); err != nil {
			t.Fatal(err)
		}
		left := len(Tokens(m.view()))
		if left != tt.left {
			t.Fatalf("%d tokens left after %s, want %d", left, tt.after, tt.left)
		}
		if tt.left == 0 && tt.after == time.Hour && m.cons.Stats().LastIndex != before {
			t.Error("a sweep of nothing was written into the log")
		}
	}
	if _, err := cmdTokenPut.Propose(ctx, m.cons, Token{ID: "old", ExpiresAt: now}); err != nil {
		t.Fatal(err)
	}
	if err := p.sweep(ctx, term+1, m.time.Now()); !errors.Is(err, rpcerr.Precondition) {
		t.Errorf("a sweep of another term: %v", err)
	}
}

// A token that is used up is swept although it would last for a year.
func TestUsedUpTokenEnds(t *testing.T) {
	m := single(t)
	secret := m.token(0, 1)
	if _, err := m.Join(testContext(t), newJoiner(t, testNode("second", 2)).request(secret, m.time.Now())); err != nil {
		t.Fatal(err)
	}
	tok := Tokens(m.view())[0]
	if !tok.EndedAt.Equal(m.time.Now()) || tok.deadBefore(m.time.Now()) || !tok.deadBefore(m.time.Now().Add(1)) {
		t.Errorf("%+v", tok)
	}
}

func TestTokenDigestProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "digest")
		s := NewJoinSecret(fmt.Sprintf("sha256:%x", raw))
		if got, err := ParseJoinSecret(s.Encode()); err != nil || got.Digest != s.Digest {
			t.Fatalf("%v, %v", got, err)
		}
	})
}
