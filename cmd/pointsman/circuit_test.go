package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/pointsman/pointsman/router"
)

// A plugin that ends at every start: after five of them its delivery waits with
// no attempt counted, everything says why, and other actions go on.
func TestDeliveriesWaitForAnOpenCircuit(t *testing.T) {
	t.Parallel()
	const script = "#!/bin/sh\nexit 3\n"
	sum := sha256.Sum256([]byte(script))
	s := newSite(t, routerConfig, routerRules+"  - {name: ext, when: 'true', do: [{action: ext}]}\n", succeeds)
	s.write("ends", script)
	if err := os.Chmod(s.path("ends"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.write("pointsman.yaml", routerConfig+fmt.Sprintf(
		"  - {name: ext, plugin: ./ends, sha256: '%s'}\n", hex.EncodeToString(sum[:])))
	r := s.serve()
	if code := r.send("e1", "work"); code != http.StatusAccepted {
		t.Fatalf("sent: %d", code)
	}
	var ext router.Broken
	r.until("the circuit open", func() bool {
		ready := r.readiness()
		if !ready.OK || len(ready.Actions) != 1 {
			return false
		}
		ext = ready.Actions[0]
		return strings.Contains(ext.Reason, "circuit open")
	})
	for _, want := range []string{"it crashed 5 times within 10m0s", "ended before its handshake: exit status 3"} {
		if ext.Name != "ext" || !strings.Contains(ext.Reason, want) {
			t.Errorf("readyz %+v, want %q", ext, want)
		}
	}
	if !strings.Contains(r.metrics(), "\n"+`pointsman_plugin_circuit_open{action="ext"} 1`+"\n") {
		t.Error("the metric does not say so")
	}
	r.all("done", 1) // the other action
	if waiting := r.all("ready", 1); waiting[0].EventID != "e1" {
		t.Errorf("waiting: %+v", waiting)
	}
	// A changed action begins anew.
	s.write("pointsman.yaml", routerConfig+"  - {name: ext, plugin: log}\n")
	r.signal(syscall.SIGHUP)
	r.all("done", 2)
	if !strings.Contains(r.metrics(), "\n"+`pointsman_plugin_circuit_open{action="ext"} 0`+"\n") {
		t.Error("the metric still says so")
	}
}
