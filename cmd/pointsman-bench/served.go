package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	token = "pointsman-bench-admin-token"
	// patience is how long settling, starting and stopping may take.
	patience = time.Minute
)

// served is a running "pointsman serve".
type served struct {
	cmd    *exec.Cmd
	redis  *redisServer // nil when it was not started by this program
	events string
	admin  string
	// times is the file that the plugin writes, nil without; seen is how much of
	// it belongs to earlier rounds.
	times string
	seen  int64
	// settled is what earlier rounds left in the counter.
	settled int
	lines   chan struct{} // closed when the log has ended
	log     bytes.Buffer  // its last lines, to be read after lines
}

// startServe starts pointsman on a store in dir.
func startServe(ctx context.Context, o options, dir string) (*served, error) {
	binary, err := findBinary(ctx, o.binary, dir)
	if err != nil {
		return nil, err
	}
	s := &served{lines: make(chan struct{})}
	if err := s.configure(o, dir); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(binary, "serve", "-c", filepath.Join(dir, "pointsman.yaml"))
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	listening := make(chan struct{})
	go s.follow(stderr, listening)
	select {
	case <-listening:
	case <-s.lines:
	case <-ctx.Done():
	}
	if err := s.ready(ctx); err != nil {
		return nil, errors.Join(err, s.stop(), errors.New(s.log.String()))
	}
	return s, nil
}

// findBinary returns path, or builds pointsman into dir when nothing is there.
func findBinary(ctx context.Context, path, dir string) (string, error) {
	if _, err := os.Stat(path); err == nil {
		return filepath.Abs(path)
	}
	built := filepath.Join(dir, "pointsman")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", built, "github.com/pointsman/pointsman/cmd/pointsman")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s is not there, and building it failed (run make build): %w\n%s", path, err, out)
	}
	return built, nil
}

// concurrency of the action: as many deliveries may be under way as asynq may have
// open tasks. The plugin takes 256 of them at a time.
const concurrency = 2048

// configure writes the configuration and 10 rules of which each event fits one.
func (s *served) configure(o options, dir string) error {
	action := fmt.Sprintf("  - {name: act, plugin: log, concurrency: %d}\n", concurrency)
	if o.action == "bench" {
		self, sum, err := self()
		if err != nil {
			return err
		}
		s.times = filepath.Join(dir, "times")
		action = fmt.Sprintf("  - {name: act, plugin: %q, sha256: %s, concurrency: %d, settings: {file: %q}}\n", self, sum, concurrency, s.times)
	}
	config := fmt.Sprintf("name: bench\nlisten: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0, token: %q}\ndata_dir: %q\nstore: %q\nrules: [rules.yaml]\nactions:\n%s",
		token, filepath.Join(dir, "data"), o.store, action)
	rules := "rules:\n"
	for k := range kinds {
		rules += fmt.Sprintf("  - name: rule-%d\n    when: event.type == \"bench.link.down.%d\" and event.data.severity >= 3\n"+
			"    do:\n      - {action: act, with: {port: \"${{ event.data.port }}\", device: \"${{ event.source }}\"}}\n", k, k)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "pointsman.yaml"), []byte(config), 0o600),
		os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(rules), 0o600),
	)
}

// self returns this executable and its digest.
func self() (path, sum string, err error) {
	if path, err = os.Executable(); err != nil {
		return "", "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", "", err
	}
	return path, hex.EncodeToString(h.Sum(nil)), nil
}

// follow reads the log, finds the addresses and keeps the last lines.
func (s *served) follow(r io.Reader, listening chan<- struct{}) {
	defer close(s.lines)
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var line struct{ Msg, Events, Admin string }
		if json.Unmarshal(sc.Bytes(), &line) == nil && line.Msg == "listening" && s.events == "" {
			s.events, s.admin = line.Events, line.Admin
			close(listening)
		}
		if s.log.Len() > 1<<20 {
			s.log.Reset()
		}
		s.log.Write(sc.Bytes())
		s.log.WriteByte('\n')
	}
}

// ready waits until the router takes events.
func (s *served) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case <-s.lines:
			return errors.New("pointsman ended")
		case <-ctx.Done():
			return fmt.Errorf("pointsman is not ready: %w", context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
		if _, err := s.get(ctx, "/readyz"); err == nil {
			return nil
		}
	}
}

func (s *served) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	<-s.lines
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("pointsman serve: %w\n%s", err, s.log.String())
	}
	return nil
}

func (s *served) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept-Encoding", "identity") // to compress would be on the router's account
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// measure drives one round and waits until everything is settled.
func (s *served) measure(ctx context.Context, n *sequence, l load) (measurement, error) {
	cpu := startCPU(s.cmd.Process.Pid, s.redis.pid())
	sent, err := drive(ctx, s.events, n, l)
	if err != nil {
		return measurement{}, err
	}
	end, err := s.await(ctx, s.settled+sent.events, false)
	if err != nil {
		return measurement{}, err
	}
	s.settled += sent.events
	m := measurement{events: sent.events, sending: sent.took, whole: end.Sub(sent.begun), answers: quantiles(sent.answers)}
	if err := cpu.stop(&m); err != nil {
		return m, err
	}
	if s.times != "" {
		m.results, err = s.results(ctx, sent)
	}
	return m, err
}

// await waits until the counter of done attempts is at want. More than that
// would be an event that ran twice. Attempts with another end are an error
// unless crashed says that a plugin was killed.
func (s *served) await(ctx context.Context, want int, crashed bool) (time.Time, error) {
	late := time.After(patience)
	for {
		page, err := s.get(ctx, "/metrics")
		if err != nil {
			return time.Time{}, err
		}
		now := time.Now()
		done, others := attempts(string(page))
		switch {
		case others > 0 && !crashed || done > want:
			return now, fmt.Errorf("%d attempts done and %d otherwise, want %d done", done, others, want)
		case done == want:
			return now, nil
		}
		select {
		case <-ctx.Done():
			return now, context.Cause(ctx)
		case <-late:
			return now, fmt.Errorf("%d of %d deliveries settled after %s", done, want, patience)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// attempts reads the counters of settled attempts.
func attempts(page string) (done, others int) {
	for line := range strings.Lines(page) {
		rest, ok := strings.CutPrefix(line, "pointsman_attempts_settled_total{")
		if !ok {
			continue
		}
		labels, value, _ := strings.Cut(rest, "} ")
		n, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if strings.Contains(labels, `outcome="done"`) {
			done += int(n)
		} else {
			others += int(n)
		}
	}
	return done, others
}

// results reads when the plugin got each event of a round; each must have come
// once.
func (s *served) results(ctx context.Context, sent *sent) (quantile, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b := make([]byte, sent.events*timeRecord)
	for {
		f, err := os.Open(s.times)
		if err != nil {
			return quantile{}, err
		}
		_, err = f.ReadAt(b, s.seen)
		_ = f.Close()
		if err == nil {
			break
		}
		if !errors.Is(err, io.EOF) {
			return quantile{}, err
		}
		select {
		case <-ctx.Done():
			return quantile{}, fmt.Errorf("the plugin noted too few runs: %w", context.Cause(ctx))
		case <-time.After(flushEvery):
		}
	}
	s.seen += int64(len(b))
	took := make([]time.Duration, sent.events)
	for ; len(b) > 0; b = b[timeRecord:] {
		i := int64(binary.LittleEndian.Uint64(b)) - sent.first
		if i < 0 || i >= int64(len(took)) || took[i] != 0 {
			return quantile{}, fmt.Errorf("the plugin got event %d twice or out of its round", i+sent.first)
		}
		took[i] = max(1, time.Duration(int64(binary.LittleEndian.Uint64(b[8:]))-sent.starts[i]))
	}
	return quantiles(took), nil
}
