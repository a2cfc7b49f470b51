package host_test

import (
	"strconv"
	"sync/atomic"
	"testing"
)

func BenchmarkRun(b *testing.B) {
	for name, spec := range modes() {
		for _, par := range []int{1, 128} {
			b.Run(name+"/c"+strconv.Itoa(par), func(b *testing.B) {
				s := setup(b, nil, spec)
				s.do(b, "warm", order{Do: "echo"})
				var n atomic.Int64
				b.SetParallelism((par + 1) / 2)
				b.ResetTimer()
				if par == 1 {
					for b.Loop() {
						s.do(b, strconv.FormatInt(n.Add(1), 10), order{Do: "echo", Text: "x"})
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						s.do(b, strconv.FormatInt(n.Add(1), 10), order{Do: "echo", Text: "x"})
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
			})
		}
	}
}
