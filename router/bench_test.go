package router_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/sqlite"
	"github.com/pointsman/pointsman/rules"
)

// instantRunner is a plugin that is done at once; done is closed at its last run.
type instantRunner struct {
	left atomic.Int64
	done chan struct{}
}

func (r *instantRunner) Run(context.Context, string, *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	if r.left.Add(-1) == 0 {
		close(r.done)
	}
	return &actionv1.RunResponse{Status: actionv1.Status_STATUS_DONE}, nil
}
func (r *instantRunner) Validate(string, json.RawMessage) error { return nil }
func (r *instantRunner) Close(context.Context)                  {}

// BenchmarkWay is the way of an event without HTTP and without a plugin
// process: parse, match, commit, claim, deliver, settle, on SQLite.
func BenchmarkWay(b *testing.B) {
	dir := b.TempDir()
	db, err := sqlite.Open(sqlite.Config{Path: filepath.Join(dir, "pm.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	var text string
	for k := range 10 {
		text += fmt.Sprintf("  - name: rule-%d\n    when: event.type == \"t.%d\" and event.data.n >= 0\n    do: [{action: act, with: {n: \"${{ event.data.n }}\"}}]\n", k, k)
	}
	var fsys fs.FS = fstest.MapFS{"rules.yaml": {Data: []byte("rules:\n" + text)}}
	rs, err := rules.Load(fsys, rules.Options{Actions: map[string]rules.Action{"act": {}}}, "rules.yaml")
	if err != nil {
		b.Fatal(err)
	}
	run := &instantRunner{done: make(chan struct{})}
	run.left.Store(int64(b.N))
	r, err := router.New(router.Config{
		Store: db, Runner: run, Log: slog.New(slog.DiscardHandler), Instance: store.Instance{ID: "bench"},
		Setup: router.Setup{
			Rules:    rs,
			Actions:  map[string]router.Action{"act": {Name: "act", Concurrency: 256, Timeout: time.Minute}},
			Revision: store.Revision{ID: "rev"},
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	for len(r.Health().Reasons) > 0 {
		runtime.Gosched()
	}
	var n atomic.Int64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			ev, err := rules.ParseEvent(fmt.Appendf(nil, `{"specversion":"1.0","id":"e%d","source":"/s","type":"t.%d","data":{"n":%d,"text":"%0900d"}}`, i, i%10, i, 0), rules.Limits{})
			if err == nil {
				_, err = r.Accept(b.Context(), router.Origin{Source: "events", Dedup: time.Hour, Strict: true}, []*rules.Event{ev})
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
	<-run.done
	stop()
	running.Wait() // drained: every outcome is stored
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
