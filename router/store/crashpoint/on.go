//go:build torture

package crashpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// trap is what POINTSMAN_CRASH asks for: "STEP|MOMENT|N|ACTION". At the Nth time
// the process is at that point it sends itself SIGKILL (ACTION kill) or SIGSTOP
// (stop). Before it does, it appends the point to the file that
// POINTSMAN_CRASH_LOG names.
type trap struct {
	step   string
	moment Moment
	left   atomic.Int64
	signal syscall.Signal
	log    string
}

var set = sync.OnceValue(func() *trap {
	f := strings.Split(os.Getenv("POINTSMAN_CRASH"), "|")
	if len(f) != 4 {
		return nil
	}
	n, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		panic("POINTSMAN_CRASH: " + err.Error())
	}
	t := &trap{step: f[0], moment: Moment(f[1]), signal: syscall.SIGKILL, log: os.Getenv("POINTSMAN_CRASH_LOG")}
	if f[3] == "stop" {
		t.signal = syscall.SIGSTOP
	}
	t.left.Store(n)
	return t
})

// Here marks one side of a step.
func Here(step string, moment Moment) {
	t := set()
	if t == nil || moment != t.moment || Name(step) != t.step || t.left.Add(-1) != 0 {
		return
	}
	if f, err := os.OpenFile(t.log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err == nil {
		fmt.Fprintf(f, "%s|%s\n", t.step, t.moment)
		_ = f.Close()
	}
	_ = syscall.Kill(syscall.Getpid(), t.signal)
}
