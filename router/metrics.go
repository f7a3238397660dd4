package router

import "github.com/prometheus/client_golang/prometheus"

var (
	descRoutes   = prometheus.NewDesc("stackato_router_routes", "Routes in the table.", nil, nil)
	descBackends = prometheus.NewDesc("stackato_router_backends", "Instances that routes lead to.", nil, nil)
	descStale    = prometheus.NewDesc("stackato_router_stale", "1 while no controller feeds the router.", nil, nil)
	descTerm     = prometheus.NewDesc("stackato_router_feed_term", "Raft term of the route table.", nil, nil)
	descVersion  = prometheus.NewDesc("stackato_router_feed_version", "Version of the route table.", nil, nil)
	descRefused  = prometheus.NewDesc("stackato_router_feed_refused_total", "Updates refused because they were old.", nil, nil)
)

// Describe makes a Router a prometheus.Collector.
func (r *Router) Describe(ch chan<- *prometheus.Desc) {
	r.metrics.Describe(ch)
	for _, d := range []*prometheus.Desc{descRoutes, descBackends, descStale, descTerm, descVersion, descRefused} {
		ch <- d
	}
}

// Collect makes a Router a prometheus.Collector.
func (r *Router) Collect(ch chan<- prometheus.Metric) {
	r.metrics.Collect(ch)
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	at, stale := r.table.Position(), 0.0
	if r.watch.Stale() {
		stale = 1
	}
	gauge(descRoutes, float64(r.table.Len()))
	gauge(descBackends, float64(r.table.Backends()))
	gauge(descStale, stale)
	gauge(descTerm, float64(at.Term))
	gauge(descVersion, float64(at.Version))
	ch <- prometheus.MustNewConstMetric(descRefused, prometheus.CounterValue, float64(r.watch.Refused()))
}
