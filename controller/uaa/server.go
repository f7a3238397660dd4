package uaa

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/stackato/stackato/controller/state"
)

// FirstAdmin knows the administrator that the cluster was made with, and what
// `kato user reset-admin` set.
type FirstAdmin interface {
	// FirstAdmin returns the user name and the argon2id hash of the password
	// in PHC string form; ok is false while it is not known.
	FirstAdmin() (userName, hash string, ok bool)
}

// Config says what a server is made of. State, Sealer, Admin and URL are
// needed; zero in other fields means the default.
type Config struct {
	State  *state.Store
	Sealer state.Sealer
	Admin  FirstAdmin
	// URL is where clients see the service, without a slash at the end:
	// https://uaa.<domain>. It names the issuer of tokens. LoginURL, default
	// URL, is https://login.<domain>.
	URL      string
	LoginURL string
	// Version is what GET /login and /info show.
	Version string

	AccessLife  time.Duration // of access tokens; default 10 minutes
	RefreshLife time.Duration // of refresh tokens; default 30 days
	// RefreshGrace is how long a refresh token that was exchanged can still
	// be used by another process of the same user. Default 30 minutes.
	RefreshGrace time.Duration
	KeyLife      time.Duration // until a key is replaced; default 30 days
	KeyNotice    time.Duration // from a key's publication to its use; default 10 minutes

	Failures   int           // until a user is locked; default 5
	LockPeriod time.Duration // in which they are counted, and of the lock; default 5 minutes
	// Rate and Burst bound the token requests of one client address, by
	// second. Default 10 and 100.
	Rate  float64
	Burst int

	Logger *slog.Logger     // default slog.Default
	Now    func() time.Time // default time.Now in UTC

	hashCost cost // smaller in tests
	keyBits  int  // smaller in tests
}

func (c Config) withDefaults() Config {
	life := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	life(&c.AccessLife, 10*time.Minute)
	life(&c.RefreshLife, 30*24*time.Hour)
	life(&c.RefreshGrace, 30*time.Minute)
	life(&c.KeyLife, 30*24*time.Hour)
	life(&c.KeyNotice, 10*time.Minute)
	life(&c.LockPeriod, 5*time.Minute)
	if c.LoginURL == "" {
		c.LoginURL = c.URL
	}
	if c.Version == "" {
		c.Version = "77.0.0"
	}
	if c.Failures == 0 {
		c.Failures = 5
	}
	if c.Rate == 0 {
		c.Rate, c.Burst = 10, 100
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = func() time.Time { return time.Now().UTC() }
	}
	if c.keyBits == 0 {
		c.keyBits = 2048
	}
	if c.hashCost == (cost{}) {
		c.hashCost = userCost
	}
	return c
}

// Server is the log-in service of one controller. It is safe for concurrent
// use and starts nothing by itself.
type Server struct {
	cfg      Config
	keys     *keyring
	hasher   *hasher
	lockout  *lockout
	throttle *throttle
	mux      *http.ServeMux
}

// New returns a server.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	s := &Server{
		cfg: cfg, keys: newKeyring(cfg.Sealer), lockout: newLockout(cfg.Failures, cfg.LockPeriod),
		hasher:   newHasher(cfg.hashCost, min(runtime.GOMAXPROCS(0), 2), 64, 10*time.Second),
		throttle: newThrottle(cfg.Rate, cfg.Burst), mux: http.NewServeMux(),
	}
	s.routes()
	return s
}

// routes is the list of all paths.
func (s *Server) routes() {
	for pattern, h := range map[string]handler{
		"GET /{$}":                              s.getLogin,
		"GET /login":                            s.getLogin,
		"GET /info":                             s.getLogin,
		"GET /.well-known/openid-configuration": s.getConfiguration,
		"POST /oauth/token":                     s.postToken,
		"DELETE /oauth/token/revoke/{jti}":      s.deleteToken,
		"GET /oauth/authorize":                  s.getAuthorize,
		"GET /oauth/clients":                    s.getClients,
		"POST /oauth/clients":                   s.postClient,
		"GET /oauth/clients/{id}":               s.getClient,
		"PUT /oauth/clients/{id}/secret":        s.putSecret,
		"DELETE /oauth/clients/{id}":            s.deleteClient,
		"GET /Groups":                           s.getGroups,
		"GET /Groups/{id}":                      s.getGroup,
		"PUT /Groups/{id}":                      s.putGroup,
		"POST /Groups/{id}/members":             s.postMember,
		"DELETE /Groups/{id}/members/{user}":    s.deleteMember,
		"GET /Users":                            s.getUsers,
		"POST /Users":                           s.postUser,
		"GET /Users/{id}":                       s.getUser,
		"PUT /Users/{id}/password":              s.putPassword,
		"DELETE /Users/{id}":                    s.deleteUser,
		"GET /token_key":                        s.getTokenKey,
		"GET /token_keys":                       s.getTokenKeys,
		"POST /check_token":                     s.postCheckToken,
		"GET /userinfo":                         s.getUserInfo,
	} {
		s.mux.HandleFunc(pattern, s.wrap(h))
	}
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	s.mux.HandleFunc("/", s.wrap(func(*http.Request) (any, error) {
		return nil, fail(http.StatusNotFound, "not_found", "There is no such resource in this log-in service.")
	}))
}

// ServeHTTP serves the paths of UAA under any host.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// handler returns the body, which is written as JSON with status 200 unless it
// is a reply.
type handler func(r *http.Request) (any, error)

// reply is a body with a status of its own.
type reply struct {
	status int
	header http.Header
	body   any
}

const maxBody = 256 << 10 // bytes; UAA's bodies are small

func (s *Server) wrap(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		body, err := h(r)
		if err != nil {
			s.writeError(w, r, err)
			return
		}
		rep, ok := body.(reply)
		if !ok {
			rep = reply{status: http.StatusOK, body: body}
		}
		write(w, rep)
	}
}

func write(w http.ResponseWriter, rep reply) {
	h := w.Header()
	for k, v := range rep.header {
		h[k] = v
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	if rep.body == nil {
		w.WriteHeader(rep.status)
		return
	}
	h.Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(rep.status)
	_ = json.NewEncoder(w).Encode(rep.body) // the client is gone
}

func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	var invalid *tokenError
	if errors.As(err, &invalid) {
		err = errInvalidToken("Invalid access token: %s", invalid.why)
	}
	f, internal := asFailure(err)
	if internal && r.Context().Err() == nil {
		s.cfg.Logger.Error("the log-in service failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	body := map[string]any{"error": f.code, "error_description": f.description}
	for k, v := range f.extra {
		body[k] = v
	}
	rep := reply{status: f.status, header: http.Header{}, body: body}
	switch f.status {
	case http.StatusUnauthorized:
		rep.header.Set("WWW-Authenticate", `Bearer realm="UAA/oauth", error="`+f.code+`"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		rep.header.Set("Retry-After", "5")
	}
	write(w, rep)
}

// bearer verifies the request's token and that it has one of the scopes, if
// any are given.
func (s *Server) bearer(r *http.Request, scopes ...string) (claims, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") || token == "" {
		return claims{}, fail(http.StatusUnauthorized, "unauthorized", "Full authentication is required to access this resource")
	}
	c, err := s.verify(r.Context(), strings.TrimSpace(token))
	if err != nil {
		return claims{}, err
	}
	if len(scopes) > 0 && !slices.ContainsFunc(scopes, c.has) {
		return claims{}, errScope(scopes...)
	}
	return c, nil
}

func (c claims) has(scope string) bool { return slices.Contains(c.Scope, scope) }

// decodeJSON reads a body.
func decodeJSON(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	err := d.Decode(into)
	if err == nil && d.More() {
		err = errors.New("something follows after the object")
	}
	if err != nil {
		return errRequest("The request body is no valid JSON: %v", err)
	}
	return nil
}

// Maintain makes what a new cluster lacks (a signing key, the clients, the
// first administrator's user) and replaces keys that are old. The Primary
// calls it when it begins and then about every hour; it can be called by
// several controllers at the same time.
func (s *Server) Maintain(ctx context.Context) error {
	if err := s.rotateKeys(ctx); err != nil {
		return err
	}
	view, err := s.cfg.State.Read(ctx)
	if err != nil {
		return err
	}
	if err := s.seedClients(ctx, view); err != nil {
		return err
	}
	_, err = s.ensureAdmin(ctx, view)
	return err
}
