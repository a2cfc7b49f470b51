package host

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin/runner"

	"github.com/pointsman/pointsman/actions"
)

// termGrace is how long a plugin has between SIGTERM and SIGKILL.
const termGrace = 2 * time.Second

// killGrace is how long a reaper may take to see to it that all are gone; then
// it is killed itself, and its work done from here.
const killGrace = 5 * time.Second

// maxHandshake is how long the handshake line may be.
const maxHandshake = 16 << 10

// process is one start of a plugin under its reaper. It is go-plugin's Runner:
// go-plugin builds the environment and the certificates and reads the handshake
// line, which was checked here before; everything about processes and pipes is
// done here.
type process struct {
	reaper  []string // argv of the reaper, to which program is added
	program []string // path and argv
	env     []string
	image   *os.File // verified image or nil; closed by start
	parent  string   // of sockets
	sockets string   // the only folder a socket may be in
	session string   // value of sessionEnv
	mtls    bool
	// instance names the control group; account is nil for the router's user.
	instance string
	limits   Limits
	account  *account
	group    *group
	root     string // of group
	log      *slog.Logger
	lines    *lineLog

	cmd     *exec.Cmd
	started chan error  // the reaper's word on the start
	line    chan []byte // the first line of standard output

	controlMu sync.Mutex
	control   *os.File    // nil when closed
	watchdog  *time.Timer // of the reaper, once it has to end

	pid       atomic.Int64
	stray     atomic.Int64 // bytes on standard output after the handshake, when it ended
	handshake string
	// gone is closed when the plugin and all its descendants are gone and its
	// pipes are read; exit is set before.
	gone chan struct{}
	exit string
}

var _ runner.Runner = (*process)(nil)

// Start implements runner.Runner: it returns when the plugin has printed an
// acceptable handshake line.
func (p *process) Start(ctx context.Context) error {
	if err := p.start(); err != nil {
		return err
	}
	return p.await(ctx)
}

func (p *process) start() error {
	var opened []*os.File
	pipe := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err == nil {
			opened = append(opened, r, w)
		}
		return r, w, err
	}
	fail := func(err error) error {
		for _, f := range opened {
			_ = f.Close()
		}
		if p.image != nil {
			_ = p.image.Close()
		}
		p.dissolve()
		close(p.gone)
		return err
	}
	controlR, controlW, err := pipe()
	if err != nil {
		return fail(err)
	}
	statusR, statusW, err := pipe()
	if err != nil {
		return fail(err)
	}
	outR, outW, err := pipe()
	if err != nil {
		return fail(err)
	}
	errR, errW, err := pipe()
	if err != nil {
		return fail(err)
	}
	argv, err := p.argv()
	if err != nil {
		return fail(err)
	}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = p.env
	p.cmd.Stdout, p.cmd.Stderr = outW, errW // nil Stdin is /dev/null
	p.cmd.ExtraFiles = []*os.File{controlR, statusW}
	if p.image != nil {
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, p.image)
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		return fail(fmt.Errorf("reaper: %w", err))
	}
	p.control = controlW
	for _, f := range []*os.File{controlR, statusW, outW, errW} {
		_ = f.Close()
	}
	if p.image != nil {
		_ = p.image.Close()
	}
	p.run(statusR, outR, errR)
	return nil
}

// run starts the goroutine that owns the pipes and the reaper until gone.
func (p *process) run(status, stdout, stderr *os.File) {
	p.started = make(chan error, 1)
	p.line = make(chan []byte, 1)
	var pipes sync.WaitGroup
	pipes.Go(func() { p.lines.copy(stderr) })
	pipes.Go(func() { p.readStdout(stdout) })
	go func() {
		clean := p.readStatus(status)
		_ = p.cmd.Wait()
		p.closeControl()
		p.unwatch()
		if !clean {
			p.exit = "its reaper died"
			p.sweep()
		}
		// All writers are gone; the deadline is for one that hid from the sweep.
		_ = stdout.SetReadDeadline(time.Now().Add(time.Second))
		_ = stderr.SetReadDeadline(time.Now().Add(time.Second))
		pipes.Wait()
		for _, f := range []*os.File{status, stdout, stderr} {
			_ = f.Close()
		}
		p.dissolve()
		close(p.gone)
	}()
}

// argv is that of the reaper, with the limits of the plugin.
func (p *process) argv() ([]string, error) {
	if p.limits == (Limits{}) && p.account == nil {
		return slices.Concat(p.reaper, p.program), nil
	}
	text, err := json.Marshal(p.confine())
	if err != nil {
		return nil, err
	}
	return slices.Concat(p.reaper, []string{confineArg, string(text)}, p.program), nil
}

// dissolve removes the control group, and adds what it knows to how the process
// ended.
func (p *process) dissolve() {
	if p.group == nil {
		return
	}
	if v := p.group.verdict(); v != "" {
		p.exit += ", " + v
	}
	p.group.remove()
}

// readStatus follows what the reaper reports; true when it saw to the end.
func (p *process) readStatus(r io.Reader) bool {
	said := false
	say := func(err error) {
		if !said {
			said = true
			p.started <- err
		}
	}
	defer func() { say(errors.New("the reaper ended before the plugin started")) }()
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		word, rest, _ := strings.Cut(sc.Text(), " ")
		switch word {
		case "pid":
			if pid, err := strconv.Atoi(rest); err == nil {
				p.pid.Store(int64(pid))
			}
			say(nil)
		case "fail":
			p.exit = rest
			say(permanent{errors.New(rest)})
			return true
		case "exit":
			p.exit = rest
			return true
		}
	}
	return false
}

// sweep does the work of a reaper that died first.
func (p *process) sweep() {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		_, err := sweep(ctx, p.session, p.cmd.Process.Pid)
		cancel()
		if err == nil {
			return
		}
		p.log.Error("plugin processes cannot be killed", "error", err)
	}
}

// readStdout passes on the first line and reads on for ever, so that a plugin
// that prints is never blocked.
func (p *process) readStdout(r io.Reader) {
	br := bufio.NewReaderSize(r, maxHandshake)
	line, err := br.ReadSlice('\n')
	p.line <- bytes.Clone(line)
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return
	}
	n, _ := io.Copy(io.Discard, br)
	p.stray.Store(n)
	if n > 0 {
		p.log.Warn("plugin wrote on standard output, which is discarded", "bytes", n)
	}
}

// await waits for the handshake and checks it. On an error the process is gone.
func (p *process) await(ctx context.Context) error {
	err := func() error {
		select {
		case err := <-p.started:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return errors.New("the reaper did not start it in time")
		}
		select {
		case line := <-p.line:
			if len(line) == 0 {
				return p.noHandshake(ctx)
			}
			return p.accept(line)
		case <-ctx.Done():
			return errors.New("no handshake line on standard output in time; is it a pointsman plugin?")
		}
	}()
	if err != nil {
		p.kill()
		<-p.gone
	}
	return err
}

// noHandshake says why there was none.
func (p *process) noHandshake(ctx context.Context) error {
	select {
	case <-p.gone:
		if r := p.lines.crashReason(); r != "" {
			return fmt.Errorf("ended before its handshake: %s: %s", p.exit, r)
		}
		return fmt.Errorf("ended before its handshake: %s", p.exit)
	case <-ctx.Done():
		return errors.New("closed its standard output before the handshake")
	}
}

// accept checks a handshake line and keeps what go-plugin may see of it.
func (p *process) accept(raw []byte) error {
	parts := strings.Split(strings.TrimSpace(string(raw)), "|")
	refuse := func(why string) error {
		return permanent{fmt.Errorf("handshake refused: %s; the plugin printed %q", why, shorten(string(raw), 200))}
	}
	switch {
	case len(parts) < 5:
		return refuse("want CORE|VERSION|unix|SOCKET|grpc|CERTIFICATE before anything else on standard output")
	case parts[0] != "1":
		return refuse("want core version 1 of go-plugin's handshake")
	case parts[1] != strconv.Itoa(actions.ProtocolVersion):
		return refuse(fmt.Sprintf("it speaks version %q of the plugin protocol and this router speaks version %d; "+
			"use a build of the plugin for that version, or another release of pointsman", shorten(parts[1], 20), actions.ProtocolVersion))
	case parts[2] != "unix":
		return refuse("want a unix socket, no other address")
	case parts[4] != "grpc":
		return refuse("want the protocol grpc")
	case filepath.Dir(parts[3]) != p.sockets || filepath.Clean(parts[3]) != parts[3]:
		return refuse("the socket must be in the folder PLUGIN_UNIX_SOCKET_DIR")
	}
	if fi, err := os.Lstat(parts[3]); err != nil || fi.Mode().Type() != os.ModeSocket {
		return refuse("there is no socket at that path")
	}
	// A certificate that was not asked for makes go-plugin dereference nil.
	parts = parts[:min(len(parts), 6)]
	if !p.mtls {
		parts = parts[:5]
	} else if len(parts) < 6 || len(parts[5]) <= 50 {
		return refuse("no certificate for mutual TLS; set mtls: false for a plugin that cannot do it")
	}
	p.handshake = strings.Join(parts, "|") + "\n"
	return nil
}

// order sends one order to the reaper; without effect when it is gone.
func (p *process) order(o byte) {
	p.controlMu.Lock()
	defer p.controlMu.Unlock()
	if p.control != nil {
		_, _ = p.control.Write([]byte{o})
	}
}

func (p *process) closeControl() {
	p.controlMu.Lock()
	defer p.controlMu.Unlock()
	if p.control != nil {
		_ = p.control.Close()
		p.control = nil
	}
}

// kill ends the plugin and all its descendants at once; wait on gone. A reaper
// that was stopped is continued first. One that a plugin keeps stopping is killed
// after killGrace.
func (p *process) kill() {
	p.closeControl()
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	p.controlMu.Lock()
	defer p.controlMu.Unlock()
	if p.watchdog == nil {
		p.watchdog = time.AfterFunc(killGrace, func() {
			if p.cmd.Process.Kill() == nil {
				p.log.Error("the reaper of the plugin did not end and was killed")
			}
		})
	}
}

func (p *process) unwatch() {
	p.controlMu.Lock()
	defer p.controlMu.Unlock()
	if p.watchdog != nil {
		p.watchdog.Stop()
	}
}

// terminate asks with SIGTERM, then kills; it returns when all are gone.
func (p *process) terminate() {
	p.order(orderTerm)
	t := time.NewTimer(termGrace)
	defer t.Stop()
	select {
	case <-p.gone:
	case <-t.C:
		p.kill()
		<-p.gone
	}
}

// The rest of runner.Runner. The streams are already read by this type, so
// go-plugin gets the checked line and nothing else.

// Wait implements runner.Runner.
func (p *process) Wait(context.Context) error { <-p.gone; return nil }

// Kill implements runner.Runner.
func (p *process) Kill(context.Context) error { p.kill(); <-p.gone; return nil }

// Stdout implements runner.Runner.
func (p *process) Stdout() io.ReadCloser { return io.NopCloser(strings.NewReader(p.handshake)) }

// Stderr implements runner.Runner.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name implements runner.Runner.
func (p *process) Name() string { return "plugin" }

// ID implements runner.Runner.
func (p *process) ID() string { return strconv.FormatInt(p.pid.Load(), 10) }

// Diagnose implements runner.Runner.
func (p *process) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner.
func (p *process) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

// HostToPlugin implements runner.Runner.
func (p *process) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}
