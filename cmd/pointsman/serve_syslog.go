package main

import (
	"fmt"
	"net"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/monitor/syslog"
)

// newSyslog makes a source of type syslog.
func (s *server) newSyslog(name string, c *config.Syslog) (router.Source, error) {
	zone, err := time.LoadLocation(c.Timezone)
	if err != nil {
		return nil, fmt.Errorf("timezone: %w", err)
	}
	cfg := syslog.Config{
		Name: name, Network: c.Network, Listen: c.Listen, Zone: zone, Allow: c.Allow,
		MaxLine: int(c.MaxLine), Connections: c.Connections, Idle: c.Idle, Log: s.log, Metrics: s.syslog,
		Listening: func(at net.Addr) {
			s.log.Info("source listens", "source", name, "network", c.Network, "address", at.String())
		},
	}
	if c.TLS != nil {
		if cfg.TLS, _, err = readTLS(*c.TLS); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		cfg.TLS.NextProtos = nil // those are of HTTP
	}
	return syslog.New(cfg), nil
}
