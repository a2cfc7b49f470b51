package syslog_test

import (
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/monitor/syslog"
)

// BenchmarkParse reads one line of each dialect.
func BenchmarkParse(b *testing.B) {
	zone, err := time.LoadLocation("Europe/Amsterdam")
	if err != nil {
		b.Fatal(err)
	}
	now := at(received)
	for _, text := range seeds()[:9] {
		line := []byte(text)
		b.Run(string(syslog.Parse(line, peer(), now, zone).Dialect), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				syslog.Parse(line, peer(), now, zone)
			}
		})
	}
}

// BenchmarkEvent makes the event of a line of IOS.
func BenchmarkEvent(b *testing.B) {
	src := syslog.New(syslog.Config{Name: "sw", Network: syslog.UDP})
	line := []byte(seeds()[2])
	now := at(received)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := syslog.EventOf(src, line, peer(), now); err != nil {
			b.Fatal(err)
		}
	}
}
