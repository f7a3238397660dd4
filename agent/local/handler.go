package local

import (
	"log/slog"
	"net/http"
	"time"
)

// Deadlines of requests, by kind.
const (
	quickTimeout = 15 * time.Second // one read or one replicated command
	longTimeout  = 15 * time.Minute // rotations, joins, restarts
	maxBody      = 1 << 20          // bytes of a request
)

// handler serves the local API. Its routes stand in one list.
type handler struct {
	backend Backend
	log     *slog.Logger
	mux     *http.ServeMux
}

// route is one entry of the API.
type route struct {
	pattern string // as in http.ServeMux
	serve   http.HandlerFunc
	timeout time.Duration
	kind    kind
}

// kind tells the middleware how to treat a route.
type kind int

const (
	read     kind = iota
	change        // audited
	hereOnly      // audited, and only for the machine it is asked on
)

// NewHandler returns the local API over b. It is a pure handler: the server
// of this package serves it on the socket, and the agent's RPC gives it
// forwarded requests with [Invoke]. Changes are logged to log with who asked.
func NewHandler(b Backend, log *slog.Logger) http.Handler {
	h := &handler{backend: b, log: log, mux: http.NewServeMux()}
	for _, r := range h.routes() {
		h.mux.Handle(r.pattern, h.wrap(r))
	}
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, Errorf(CodeNotFound, "kato and stackato-agent should have the same version",
			"this agent does not know %s %.80s", r.Method, r.URL.Path))
	})
	return h
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// routes is the whole API.
func (h *handler) routes() []route {
	b := h.backend
	return []route{
		{"GET /v1/info", get(b.Info), quickTimeout, read},
		{"GET /v1/version", get(b.Version), quickTimeout, read},
		{"GET /v1/health", get(h.health), quickTimeout, read},
		{"GET /v1/status", query(h.status), quickTimeout, read},
		{"POST /v1/inspect", stream(h.inspect), time.Minute, read},

		{"POST /v1/init", stream(b.Init), longTimeout, hereOnly},
		{"POST /v1/join", stream(b.Join), longTimeout, hereOnly},
		{"POST /v1/leave", stream(h.leave), longTimeout, change},

		{"GET /v1/nodes", get(b.Nodes), quickTimeout, read},
		{"POST /v1/nodes/remove", stream(h.nodeRemove), longTimeout, change},
		{"PUT /v1/zone", call(b.NodeSetZone), quickTimeout, change},
		{"GET /v1/placement-zones", query(h.placementZones), quickTimeout, read},
		{"PUT /v1/placement-zones", call(b.PlacementZones), quickTimeout, change},

		{"GET /v1/roles", get(b.Roles), quickTimeout, read},
		{"POST /v1/roles", stream(b.ChangeRoles), longTimeout, change},
		{"GET /v1/groups", get(b.Groups), quickTimeout, read},

		{"GET /v1/processes", query(h.processes), quickTimeout, read},
		{"GET /v1/processes/ready", query(h.processReady), quickTimeout, read},
		{"POST /v1/processes/restart", stream(h.processRestart), longTimeout, change},
		{"POST /v1/control", stream(b.ControlRoles), longTimeout, change},

		{"GET /v1/config", query(h.configList), quickTimeout, read},
		{"PUT /v1/config", call(b.ConfigSet), quickTimeout, change},
		{"DELETE /v1/config", query(h.configDel), quickTimeout, change},

		{"GET /v1/tokens", get(b.TokenList), quickTimeout, read},
		{"POST /v1/tokens", call(b.TokenCreate), quickTimeout, change},
		{"DELETE /v1/tokens/{id}", query(h.tokenRevoke), quickTimeout, change},

		{"GET /v1/certificates", get(b.CertificateList), quickTimeout, read},
		{"POST /v1/certificates", call(b.CertificateAdd), quickTimeout, change},
		{"DELETE /v1/certificates/{name}", query(h.certificateRemove), quickTimeout, change},

		{"POST /v1/users/reset-admin", get(b.UserResetAdmin), quickTimeout, change},
		{"POST /v1/rotate", stream(h.rotate), longTimeout, change},
		{"POST /v1/export/sealing-keys", call(b.ExportSealingKeys), quickTimeout, hereOnly}, // a passphrase stays on its machine
	}
}
