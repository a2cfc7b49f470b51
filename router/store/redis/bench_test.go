package redis_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/router/store/storetest"
)

func BenchmarkThroughput(b *testing.B) {
	for _, fsync := range []string{"everysec", "always"} {
		b.Run(fsync, func(b *testing.B) {
			s := newServer(b, "--appendonly", "yes", "--appendfsync", fsync)
			storetest.Throughput(b, open(b, s.url(), "bench", nil))
			report(b, s)
		})
	}
}

func BenchmarkStarted(b *testing.B) {
	s := newServer(b, "--appendonly", "yes", "--appendfsync", "everysec")
	storetest.Started(b, open(b, s.url(), "bench", nil))
	report(b, s)
}

func BenchmarkLane(b *testing.B) {
	for _, waiting := range []int{100, 20_000} {
		b.Run(strconv.Itoa(waiting), func(b *testing.B) {
			storetest.Lane(b, open(b, newServer(b).url(), "bench", nil), waiting)
		})
	}
}

// report adds what the server spent on each event.
func report(b *testing.B, s *server) {
	info := s.client().Info(b.Context(), "memory", "cpu").Val()
	value := func(key string) float64 {
		_, after, _ := strings.Cut(info, "\r\n"+key+":")
		text, _, _ := strings.Cut(after, "\r\n")
		return check(strconv.ParseFloat(text, 64))(b)
	}
	n := float64(b.N)
	b.ReportMetric(1e6*(value("used_cpu_user")+value("used_cpu_sys"))/n, "server-us/event")
	b.ReportMetric(value("used_memory")/n, "server-B/event")
}
