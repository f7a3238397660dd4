package uaa

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// box seals by AES-GCM with a key of its own.
type box struct{ aead cipher.AEAD }

func newBox(t testing.TB) box {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return box{aead}
}

func (b box) Seal(plain []byte, context string) ([]byte, error) {
	nonce := make([]byte, b.aead.NonceSize())
	rand.Read(nonce)
	return b.aead.Seal(nonce, nonce, plain, []byte(context)), nil
}

func (b box) Open(sealed []byte, context string) ([]byte, error) {
	n := b.aead.NonceSize()
	if len(sealed) < n {
		return nil, errors.New("too short")
	}
	return b.aead.Open(nil, sealed[:n], sealed[n:], []byte(context))
}

// admin is a FirstAdmin.
type admin struct {
	mu   sync.Mutex
	hash string
}

func (a *admin) FirstAdmin() (string, string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return "admin", a.hash, a.hash != ""
}

func (a *admin) reset(password string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	salt := make([]byte, saltSize)
	rand.Read(salt)
	// Other costs than the server's own, as the agent's.
	c := cost{memory: 16, time: 3, threads: 2}
	a.hash = encode(c, salt, compute(password, salt, c, 32))
}

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// harness is a server with the administrator "admin", password "secret".
type harness struct {
	*testing.T
	s     *Server
	state *state.Store
	admin *admin
	clock *clock
}

func newHarness(t *testing.T, change ...func(*Config)) *harness {
	t.Helper()
	h := &harness{T: t, state: state.NewMemory(), admin: &admin{}, clock: &clock{now: time.Now().UTC().Truncate(time.Second)}}
	h.admin.reset("secret")
	cfg := Config{
		State: h.state, Sealer: newBox(t), Admin: h.admin, URL: "https://uaa.test", LoginURL: "https://login.test",
		Now: h.clock.read, Rate: 1e6, Burst: 1e6, Logger: slog.New(slog.DiscardHandler), hashCost: cost{memory: 8, time: 1, threads: 1}, keyBits: 1024,
	}
	for _, f := range change {
		f(&cfg)
	}
	h.s = New(cfg)
	if err := h.s.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

// response is what a request got.
type response struct {
	status int
	header http.Header
	body   map[string]any
	raw    string
}

// text returns a field of the body.
func (r response) text(field string) string {
	s, _ := r.body[field].(string)
	return s
}

func (h *harness) send(r *http.Request) response {
	h.Helper()
	w := httptest.NewRecorder()
	h.s.ServeHTTP(w, r)
	out := response{status: w.Code, header: w.Header(), raw: w.Body.String()}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(w.Body.Bytes(), &out.body); err != nil {
			h.Fatalf("the body is no JSON: %v: %s", err, out.raw)
		}
	}
	return out
}

// token posts a form to /oauth/token as the client cf.
func (h *harness) token(fields ...string) response {
	h.Helper()
	r := form("/oauth/token", fields...)
	r.SetBasicAuth("cf", "")
	return h.send(r)
}

func form(path string, fields ...string) *http.Request {
	v := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		v.Set(fields[i], fields[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func (h *harness) logIn(user, password string) response {
	h.Helper()
	return h.token("grant_type", "password", "username", user, "password", password)
}

// as is a session of a user who must be able to log in.
func (h *harness) as(user, password string) response {
	h.Helper()
	r := h.logIn(user, password)
	if r.status != http.StatusOK {
		h.Fatalf("log-in of %s: %d %s", user, r.status, r.raw)
	}
	return r
}

// call sends a request with a bearer token and a JSON body, if it is not "".
func (h *harness) call(token, method, path, body string) response {
	h.Helper()
	r := httptest.NewRequest(method, path, io.NopCloser(strings.NewReader(body)))
	if token != "" {
		r.Header.Set("Authorization", "bearer "+token)
	}
	return h.send(r)
}

// newUser makes a user with the password "pw" and returns its id.
func (h *harness) newUser(name string) string {
	h.Helper()
	token := h.as("admin", "secret").text("access_token")
	r := h.call(token, "POST", "/Users", `{"userName":"`+name+`","password":"pw","origin":"uaa","name":{"familyName":"F","givenName":"G"},"emails":[{"value":"`+name+`","primary":true}]}`)
	if r.status != http.StatusCreated {
		h.Fatalf("create user: %d %s", r.status, r.raw)
	}
	return r.text("id")
}

// newClient adds a client with the secret "cs".
func (h *harness) newClient(c cf.Client) {
	h.Helper()
	hash, err := h.s.hasher.hash(h.Context(), "cs")
	if err != nil {
		h.Fatal(err)
	}
	c.Secret = hash
	if err := h.state.PutClient(h.Context(), c); err != nil {
		h.Fatal(err)
	}
}

// valid says whether Verify takes a token.
func (h *harness) valid(token string) bool {
	h.Helper()
	_, err := h.s.Verify(context.Background(), token)
	if err != nil && !errors.Is(err, ErrInvalidToken) {
		h.Fatal(err)
	}
	return err == nil
}

// payload decodes the claims of a token without looking at its signature.
func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %q", token)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// want fails unless the response is an error of UAA.
func (h *harness) want(r response, status int, code, description string) {
	h.Helper()
	if r.status != status || r.text("error") != code || !strings.Contains(r.text("error_description"), description) {
		h.Errorf("got %d %s, want %d %s %q", r.status, r.raw, status, code, description)
	}
}
