package syslog

import "github.com/prometheus/client_golang/prometheus"

// Reasons of the counter of refusals.
const (
	refusedPeer        = "peer"
	refusedConnections = "connections"
	refusedTLS         = "tls"
)

// Metrics are the collectors that all sources of this type share. Labels are
// names from the configuration and fixed words.
type Metrics struct {
	lines, dropped, cut, refused *prometheus.CounterVec
	connections                  *prometheus.GaugeVec
}

// NewMetrics makes the collectors and registers them. It panics when reg already
// has collectors of these names, as client_golang does.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pointsman_syslog_" + name, Help: help}, labels)
	}
	m := &Metrics{
		lines: counter("lines_total",
			"Lines that were read from permitted senders, by source.", "source"),
		dropped: counter("dropped_total",
			"Lines that are lost: the queue or the kernel's buffer was full, or they could not be stored before the end.", "source"),
		cut: counter("truncated_total",
			"Lines that were longer than max_line, or whose end never came.", "source"),
		refused: counter("refused_total",
			"Datagrams and connections that were refused: the peer is not permitted, there are too many connections, TLS failed.",
			"source", "reason"),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "pointsman_syslog_connections", Help: "Open connections, by source.",
		}, []string{"source"}),
	}
	reg.MustRegister(m.lines, m.dropped, m.cut, m.refused, m.connections)
	return m
}
