package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pointsman/pointsman/router/config"
)

// certificateCheck is how often, at most, a handshake looks whether the files of
// the certificates have changed.
const certificateCheck = 10 * time.Second

// certificates are the files of tls. They are read again when they change, so
// that a certificate that is renewed needs no signal; files that do not fit
// together, as while they are being replaced, leave the old ones in force.
type certificates struct {
	files config.TLS
	log   *slog.Logger
	now   func() time.Time

	mu      sync.Mutex
	inForce *tls.Config
	expires time.Time
	seen    [3]stamp
	looked  time.Time
}

// stamp tells versions of a file apart.
type stamp struct {
	size    int64
	changed time.Time
	inode   uint64
}

func newCertificates(files config.TLS, log *slog.Logger, now func() time.Time) (*certificates, error) {
	c := &certificates{files: files, log: log, now: now}
	c.looked, c.seen = now(), c.stamps()
	var err error
	c.inForce, c.expires, err = readTLS(files)
	return c, err
}

// config returns what the listener needs: it asks for each handshake.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil },
	}
}

func (c *certificates) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.looked) >= certificateCheck {
		c.looked = now
		c.refresh(false)
	}
	return c.inForce
}

// reload reads the files whether they have changed or not.
func (c *certificates) reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh(true)
}

// refresh needs c.mu.
func (c *certificates) refresh(always bool) {
	seen := c.stamps()
	if seen == c.seen && !always {
		return
	}
	c.seen = seen
	fresh, expires, err := readTLS(c.files)
	if err != nil {
		c.log.Warn("the certificates have changed and cannot be used, the old ones stay in force", "error", err)
		return
	}
	c.inForce, c.expires = fresh, expires
	c.log.Info("certificates loaded", "expires", expires)
}

func (c *certificates) stamps() [3]stamp {
	var out [3]stamp
	for i, path := range []string{c.files.Cert, c.files.Key, c.files.ClientCA} {
		info, err := os.Stat(path)
		if err != nil {
			continue // reading it says so
		}
		out[i] = stamp{size: info.Size(), changed: info.ModTime()}
		if sys, ok := info.Sys().(*syscall.Stat_t); ok {
			out[i].inode = sys.Ino
		}
	}
	return out
}

// Describe implements prometheus.Collector.
func (c *certificates) Describe(ch chan<- *prometheus.Desc) { ch <- certificateExpiry }

// Collect implements prometheus.Collector.
func (c *certificates) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(certificateExpiry, prometheus.GaugeValue, float64(c.expires.Unix()))
}

var certificateExpiry = prometheus.NewDesc("pointsman_tls_certificate_expiry_timestamp_seconds",
	"When the certificate of the public listener expires, in seconds since 1970.", nil, nil)

// readTLS reads the files and tells when the certificate expires.
func readTLS(files config.TLS) (*tls.Config, time.Time, error) {
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, time.Time{}, err
	}
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if files.ClientCA == "" {
		return c, cert.Leaf.NotAfter, nil
	}
	pem, err := os.ReadFile(files.ClientCA)
	if err != nil {
		return nil, time.Time{}, err
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, time.Time{}, fmt.Errorf("%s holds no certificate", files.ClientCA)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, cert.Leaf.NotAfter, nil
}

// connections is how many the public listener may have: what is configured, and
// never so many that none are left for the store and the plugins.
func (s *server) connections() int {
	most := s.cfg.Limits.Connections
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Cur/2 < uint64(most) {
		most = int(files.Cur / 2)
		s.log.Warn("limits.connections is lowered to half of the open files that the system allows", "connections", most)
	}
	return most
}
