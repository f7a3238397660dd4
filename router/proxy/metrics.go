package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what a proxy does. It is a prometheus.Collector.
type Metrics struct {
	requests    [6]prometheus.Counter // by the first digit of the status
	byCode      *prometheus.CounterVec
	seconds     prometheus.Histogram
	sent        prometheus.Counter
	refused     *prometheus.CounterVec
	retries     prometheus.Counter
	failures    prometheus.Counter
	lost        prometheus.Counter
	unconfirmed prometheus.Counter
	dropped     prometheus.Counter
}

// NewMetrics returns counters at zero.
func NewMetrics() *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "stackato_router_" + name, Help: help})
	}
	m := &Metrics{
		byCode: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stackato_router_requests_total", Help: "Requests that were answered, by class of the status.",
		}, []string{"code"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "stackato_router_request_seconds", Help: "From the request's header until the response is through.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 60},
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stackato_router_errors_total", Help: "Answers that the router made itself, by X-Cf-RouterError.",
		}, []string{"error"}),
		sent:        counter("response_bytes_total", "Bytes of response bodies."),
		retries:     counter("retries_total", "Requests sent to another backend after one failed."),
		failures:    counter("backend_failures_total", "Connections to backends that failed; each ejects the backend for a while."),
		lost:        counter("backend_lost_total", "Connections to backends that were given up because their machine acknowledged nothing any more."),
		unconfirmed: counter("unconfirmed_total", "Backends that a node did not confirm while the route table was stale."),
		dropped:     counter("access_log_dropped_total", "Lines of the access log that were dropped because writing is too slow."),
	}
	for i, class := range []string{"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		if i > 0 {
			m.requests[i] = m.byCode.WithLabelValues(class)
		}
	}
	return m
}

func (m *Metrics) finished(x *exchange, end time.Time) {
	if class := x.status / 100; class >= 1 && class < len(m.requests) {
		m.requests[class].Inc()
	}
	m.seconds.Observe(end.Sub(x.start).Seconds())
	m.sent.Add(float64(x.bytesSent))
}

func (m *Metrics) parts() []prometheus.Collector {
	return []prometheus.Collector{m.byCode, m.seconds, m.sent, m.refused, m.retries, m.failures, m.lost, m.unconfirmed, m.dropped}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.parts() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.parts() {
		c.Collect(ch)
	}
}
