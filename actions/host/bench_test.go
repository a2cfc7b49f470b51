package host_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
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

// BenchmarkStream hands over runs as a router does: those of one claim at once,
// each in its goroutine, and the next when all are answered. It reports the
// processor time of each side.
func BenchmarkStream(b *testing.B) {
	event := []byte(`{"data":{"message":"` + strings.Repeat("link lost carrier; ", 57) + `"}}`)
	for _, burst := range []int{1, 4, 16, 64} {
		b.Run("burst"+strconv.Itoa(burst), func(b *testing.B) {
			s := setup(b, nil, modes()["stream"])
			plugin := s.pid(b, "pid")
			req := request("", order{Do: "echo"})
			n := 0
			claim := func() {
				var wg sync.WaitGroup
				for range burst {
					n++
					id := strconv.Itoa(n)
					wg.Go(func() {
						r := request(id, order{})
						r.Event, r.Params = event, req.GetParams()
						if res, err := s.Run(s.ctx, "a", r); err != nil || res.GetError() != "" {
							b.Error(res, err)
						}
					})
				}
				wg.Wait()
			}
			for range 100 {
				claim()
			}
			n = 0
			ours, theirs := used(b), usedBy(b, plugin)
			for b.Loop() {
				claim()
			}
			b.ReportMetric(float64((used(b)-ours).Microseconds())/float64(n), "host-µs/run")
			b.ReportMetric(float64((usedBy(b, plugin)-theirs).Microseconds())/float64(n), "plugin-µs/run")
		})
	}
}

// used is the processor time of this process.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// usedBy is the processor time of another process, in steps of 10 ms.
func usedBy(b *testing.B, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	ticks := 0
	for _, f := range fields[11:13] { // user and system time; proc_pid_stat(5)
		n, err := strconv.Atoi(string(f))
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
