package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	gometrics "github.com/hashicorp/go-metrics"
	goprom "github.com/hashicorp/go-metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/internal/buildinfo"
)

// healthServer answers on loopback: /metrics (Prometheus), /v1/health, and
// /v1/roles/ROLE, which Consul's checks ask.
type healthServer struct {
	agent *Agent
	reg   *prometheus.Registry
	calls *prometheus.HistogramVec
}

func newHealthServer(a *Agent) *healthServer {
	h := &healthServer{
		agent: a, reg: prometheus.NewRegistry(),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "stackato_rpc_seconds", Help: "Duration of calls between nodes.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10},
		}, []string{"side", "method", "code"}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "stackato_agent_info", Help: "1, with the release as label.",
		ConstLabels: prometheus.Labels{"version": buildinfo.Version},
	})
	info.Set(1)
	h.reg.MustRegister(h.calls, info, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), nodeCollector{a})
	h.raftMetrics()
	return h
}

// raftMetrics lets hashicorp/raft and memberlist, which report to a global
// sink, show up here. In a process with several agents the last one gets them.
func (h *healthServer) raftMetrics() {
	sink, err := goprom.NewPrometheusSinkFrom(goprom.PrometheusOpts{Registerer: h.reg, Expiration: time.Minute})
	if err != nil {
		h.agent.log.Warn("metrics of Raft", "err", err)
		return
	}
	cfg := gometrics.DefaultConfig("stackato")
	cfg.EnableHostname, cfg.EnableRuntimeMetrics = false, false
	if _, err := gometrics.NewGlobal(cfg, sink); err != nil {
		h.agent.log.Warn("metrics of Raft", "err", err)
	}
}

func (h *healthServer) observeRPC(e rpc.Event) {
	side := "client"
	if e.Server {
		side = "server"
	}
	h.calls.WithLabelValues(side, e.Method, string(e.Code)).Observe(e.Duration.Seconds())
}

func (h *healthServer) addr() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(h.agent.cfg.Ports.HTTP))
}

func (h *healthServer) run(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /v1/health", func(w http.ResponseWriter, req *http.Request) {
		answerHealth(w, (&backend{h.agent}).Health(req.Context()))
	})
	mux.HandleFunc("GET /v1/roles/{role}", func(w http.ResponseWriter, req *http.Request) {
		r := h.agent.current()
		if r == nil {
			answerHealth(w, errors.New("this machine is in no cluster"))
			return
		}
		answerHealth(w, r.roleHealth(req.Context(), node.Role(req.PathValue("role"))))
	})
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(h.agent.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func answerHealth(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	body := map[string]string{"status": "ok"}
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		body = map[string]string{"status": "failed", "error": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(body) // the client went away
}

// nodeCollector shows the node's place in the cluster.
type nodeCollector struct{ agent *Agent }

var (
	descLeads   = prometheus.NewDesc("stackato_primary", "1 if this node is the Primary.", nil, nil)
	descVoters  = prometheus.NewDesc("stackato_voters", "Number of Raft voters.", nil, nil)
	descNodes   = prometheus.NewDesc("stackato_nodes", "Number of nodes that belong to the cluster.", nil, nil)
	descApplied = prometheus.NewDesc("stackato_state_index", "Raft index that the node's tables show.", nil, nil)
	descCert    = prometheus.NewDesc("stackato_certificate_expiry_seconds", "Unix time at which the node's certificate ends.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c nodeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descLeads, descVoters, descNodes, descApplied, descCert} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c nodeCollector) Collect(ch chan<- prometheus.Metric) {
	r := c.agent.current()
	if r == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	a := r.dir.get()
	leads := 0.0
	if r.role != nil {
		if r.role.cons.LeadTerm() != 0 {
			leads = 1
		}
		gauge(descApplied, float64(r.role.cons.Stats().Applied))
	}
	gauge(descLeads, leads)
	gauge(descVoters, float64(len(a.Voters)))
	gauge(descNodes, float64(len(a.Nodes)))
	gauge(descCert, float64(r.creds.leaf().NotAfter.Unix()))
}
