package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
)

// bareArg makes this binary serve the bare handler, in a process of its own as
// pointsman is.
const bareArg = "serve-bare-handler"

// serveBare answers every request with 202 after reading its body, until alive
// ends. It prints its address to out.
func serveBare(out io.Writer, alive io.Reader) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, ln.Addr()); err != nil {
		return err
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})}
	go func() {
		_, _ = io.Copy(io.Discard, alive)
		_ = srv.Close()
	}()
	if err := srv.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// bare is the running process of the bare handler.
type bare struct {
	cmd   *exec.Cmd
	alive io.Closer
	addr  string
}

func startBare(ctx context.Context) (*bare, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, bareArg)
	cmd.Stderr = os.Stderr
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b := &bare{cmd: cmd, alive: alive}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = b.stop()
		return nil, fmt.Errorf("start bare handler: %w", err)
	}
	b.addr = strings.TrimSpace(line)
	return b, nil
}

func (b *bare) stop() error {
	_ = b.alive.Close()
	return b.cmd.Wait()
}

// measure drives one round.
func (b *bare) measure(ctx context.Context, n *sequence, l load) (measurement, error) {
	cpu := startCPU(b.cmd.Process.Pid, 0)
	s, err := drive(ctx, b.addr, n, l)
	if err != nil {
		return measurement{}, err
	}
	m := measurement{events: s.events, sending: s.took, whole: s.took, answers: quantiles(s.answers)}
	return m, cpu.stop(&m)
}
