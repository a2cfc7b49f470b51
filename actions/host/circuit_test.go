package host_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/actions/host"
)

// A plugin that crashes on all it gets is left alone, and what waits for it is
// refused unsent; once it answers again, everything goes on.
func TestCircuitOpensAndCloses(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *host.Config) {
		c.CircuitCrashes, c.CircuitPause = 3, 2*time.Second
	}, modes()["stream"])
	for i := range 3 {
		if _, err := b.Run(b.ctx, "a", request(fmt.Sprint(i), order{Do: "panic", Text: "poison"})); isKind(err) != "crashed" {
			t.Fatal(err)
		}
	}
	_, err := b.Run(b.ctx, "a", request("3", order{Do: "echo"}))
	if isKind(err) != "unavailable" || !strings.Contains(err.Error(), "circuit open: it crashed 3 times within 10m0s") ||
		!strings.Contains(err.Error(), "panic: poison") {
		t.Fatalf("got %v", err)
	}
	st := b.Status()[0]
	if st.State != host.Open || !st.Open || !strings.Contains(st.Error, "circuit open") || st.PID != 0 {
		t.Errorf("status %+v", st)
	}
	// The probe crashes: open again, for longer.
	var kind string
	until(t, 20*time.Second, "probe crashed", func() bool {
		_, err := b.Run(b.ctx, "a", request("4", order{Do: "panic", Text: "poison"}))
		kind = isKind(err)
		return kind == "crashed"
	})
	if _, err := b.Run(b.ctx, "a", request("5", order{Do: "echo"})); isKind(err) != "unavailable" {
		t.Errorf("after a probe that crashed: %v", err)
	}
	// While a probe runs, nothing else is let in; its result lets all in.
	file := filepath.Join(t.TempDir(), "meet")
	probe := make(chan error, 1)
	go func() {
		for {
			_, err := b.Run(b.ctx, "a", request("6", order{Do: "meet", File: file, N: 2}))
			if isKind(err) != "unavailable" || b.ctx.Err() != nil {
				probe <- err
				return
			}
			<-time.After(10 * time.Millisecond)
		}
	}()
	until(t, 30*time.Second, "probe runs", func() bool { _, err := os.Stat(file); return err == nil })
	if _, err := b.Run(b.ctx, "a", request("7", order{Do: "echo"})); isKind(err) != "unavailable" || !strings.Contains(err.Error(), "half open") {
		t.Errorf("beside the probe: %v", err)
	}
	if err := os.WriteFile(file, []byte("xx"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-probe; err != nil {
		t.Fatal(err)
	}
	b.do(t, "8", order{Do: "echo"})
	if st := b.Status()[0]; st.State != host.Running || st.Open || st.Error != "" {
		t.Errorf("status %+v", st)
	}
}

// A plugin that ends at each start is not started for ever.
func TestCircuitOfACrashLoop(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *host.Config) { c.CircuitCrashes = 2 }, host.Spec{Action: "a", Plugin: "exit"})
	_, err := b.Run(b.ctx, "a", request("1", order{}))
	want := "circuit open: it crashed 2 times within 10m0s"
	if isKind(err) != "unavailable" || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("got %v, want %q", err, want)
	}
	// The log has it a little after the run was answered.
	until(t, 10*time.Second, "two starts", func() bool { return strings.Count(b.log.String(), "plugin did not start") >= 2 })
	if n := strings.Count(b.log.String(), "plugin did not start"); n != 2 {
		t.Errorf("%d starts, want 2", n)
	}
}
