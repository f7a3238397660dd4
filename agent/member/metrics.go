package member

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are the package's own; memberlist's go to nobody.
type counters struct {
	refused    atomic.Uint64
	conflicts  atomic.Uint64
	unanswered atomic.Uint64
	rejoins    atomic.Uint64
}

// Stats is a snapshot of a member's figures.
type Stats struct {
	Alive, Suspect, Dead, Left int
	// Health is memberlist's opinion of this process: 0 is well, higher means
	// that it is too slow to judge others, and probes less.
	Health int
	// Refused counts messages about members of other clusters or with
	// metadata that cannot be read.
	Refused uint64
	// Conflicts counts messages from a second machine with a taken id.
	Conflicts uint64
	// Unanswered counts own direct probes without an answer.
	Unanswered uint64
	// Rejoins counts rounds of contacting missing seeds.
	Rejoins uint64
	Traffic Traffic
}

// Stats returns the figures of now.
func (g *Gossip) Stats() Stats {
	s := Stats{
		Refused:    g.stats.refused.Load(),
		Conflicts:  g.stats.conflicts.Load(),
		Unanswered: g.stats.unanswered.Load(),
		Rejoins:    g.stats.rejoins.Load(),
	}
	for _, m := range g.Members() {
		switch m.State {
		case Alive:
			s.Alive++
		case Suspect:
			s.Suspect++
		case Dead:
			s.Dead++
		case Left:
			s.Left++
		}
	}
	s.Traffic = g.Traffic()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.list != nil {
		s.Health = g.list.GetHealthScore()
	}
	return s
}

// Traffic returns what was sent and received so far.
func (g *Gossip) Traffic() Traffic {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.link == nil {
		return Traffic{}
	}
	return g.link.traffic()
}

var (
	descMembers = prometheus.NewDesc("stackato_gossip_members",
		"Members as this node sees them, by state.", []string{"state"}, nil)
	descHealth = prometheus.NewDesc("stackato_gossip_health_score",
		"How far this node is from keeping gossip's timing; 0 is well.", nil, nil)
	descRefused = prometheus.NewDesc("stackato_gossip_refused_total",
		"Messages about members of other clusters or with unreadable metadata.", nil, nil)
	descConflicts = prometheus.NewDesc("stackato_gossip_conflicts_total",
		"Messages from a second machine with a node id that is taken.", nil, nil)
	descUnanswered = prometheus.NewDesc("stackato_gossip_probes_unanswered_total",
		"Direct probes of this node that got no answer.", nil, nil)
	descRejoins = prometheus.NewDesc("stackato_gossip_rejoins_total",
		"Rounds of contacting nodes that gossip misses.", nil, nil)
	descPackets = prometheus.NewDesc("stackato_gossip_packets_total",
		"UDP packets.", []string{"direction"}, nil)
	descBytes = prometheus.NewDesc("stackato_gossip_bytes_total",
		"Payload bytes, without IP, UDP and TCP headers.", []string{"direction", "kind"}, nil)
)

// Describe and Collect make a Gossip a prometheus.Collector.
func (g *Gossip) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(g, ch) }

// Collect sends the figures of now.
func (g *Gossip) Collect(ch chan<- prometheus.Metric) {
	s := g.Stats()
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(descMembers, s.Alive, string(Alive))
	gauge(descMembers, s.Suspect, string(Suspect))
	gauge(descMembers, s.Dead, string(Dead))
	gauge(descMembers, s.Left, string(Left))
	gauge(descHealth, s.Health)
	count(descRefused, s.Refused)
	count(descConflicts, s.Conflicts)
	count(descUnanswered, s.Unanswered)
	count(descRejoins, s.Rejoins)
	count(descPackets, s.Traffic.PacketsSent, "sent")
	count(descPackets, s.Traffic.PacketsReceived, "received")
	count(descBytes, s.Traffic.PacketBytesSent, "sent", "packet")
	count(descBytes, s.Traffic.PacketBytesReceived, "received", "packet")
	count(descBytes, s.Traffic.StreamBytesSent, "sent", "stream")
	count(descBytes, s.Traffic.StreamBytesReceived, "received", "stream")
}
