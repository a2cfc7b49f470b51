package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

var updateExamples = flag.Bool("update-examples", false, "rewrite the output that is shown in the READMEs of the examples, and wanted.txt")

// example is a folder of examples, copied, in which the commands of its README
// are run.
type example struct {
	t      *testing.T
	source string            // the folder in the repository
	dir    string            // the copy
	work   string            // the folder in it in which commands are run
	bin    string            // a folder with a command named pointsman
	ports  *strings.Replacer // to those that are free
	back   *strings.Replacer // and again to those of the page
	live   *live             // nil before "pointsman serve &"
}

// TestExamples does what the READMEs of the examples say. The commands of their
// console blocks are run in order in a copy, and put out what the page shows but
// for times, ids and blanks; then wanted.txt has the deliveries there are. The
// fixed ports of an example are replaced by free ones.
func TestExamples(t *testing.T) {
	t.Parallel()
	lists, err := filepath.Glob("../../examples/*/wanted.txt")
	if err != nil || len(lists) < 7 {
		t.Fatalf("%d examples with wanted.txt, %v", len(lists), err)
	}
	for _, list := range lists {
		folder := filepath.Dir(list)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Parallel()
			page, err := os.ReadFile(filepath.Join(folder, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			for _, tool := range []string{"bash", "curl", "jq", "openssl", "python3", "snmptrap"} {
				if _, err := exec.LookPath(tool); err != nil && strings.Contains(string(page), tool+" ") {
					t.Skipf("SKIPPED: %s is not installed, so this example is NOT tested (make deps, or apt-get install)", tool)
				}
			}
			newExample(t, folder).follow(string(page))
		})
	}
}

func newExample(t *testing.T, folder string) *example {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	x := &example{t: t, source: folder, dir: t.TempDir(), bin: t.TempDir()}
	x.work = x.dir
	if _, err := os.Stat(filepath.Join(folder, "router")); err == nil { // it has several configurations
		x.work = filepath.Join(x.dir, "router")
	}
	// snmptrap tells when it makes this one.
	if err := os.Mkdir(filepath.Join(x.bin, "cert_indexes"), 0o700); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nexec " + binary + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(x.bin, "pointsman"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(x.dir, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	// What a run by hand has left in the folder is no part of the example.
	ignored, err := os.ReadFile(filepath.Join(folder, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	for left := range strings.FieldsSeq(string(ignored)) {
		if err := os.RemoveAll(filepath.Join(x.dir, left)); err != nil {
			t.Fatal(err)
		}
	}
	x.movePorts()
	return x
}

// fixedPort is how an example names a port of the loopback, also as
// /dev/udp/127.0.0.1/5514.
var fixedPort = regexp.MustCompile(`127\.0\.0\.1[:/]\d+`)

// movePorts takes free ports instead of those that the files of the copy name.
func (x *example) movePorts() {
	x.t.Helper()
	type file struct {
		text string
		mode fs.FileMode
	}
	files, ports := map[string]file{}, map[string]string{}
	err := filepath.WalkDir(x.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		files[path] = file{string(text), info.Mode()}
		for _, at := range fixedPort.FindAllString(string(text), -1) {
			_, port, _ := strings.Cut(strings.ReplaceAll(at, "/", ":"), ":")
			ports[port] = ""
		}
		return err
	})
	if err != nil {
		x.t.Fatal(err)
	}
	var pairs, back []string
	for port := range ports {
		if port == "8080" || port == "8081" { // of the router: it says which it got
			continue
		}
		_, free, _ := net.SplitHostPort(freeAddress(x.t))
		pairs = append(pairs, "127.0.0.1:"+port, "127.0.0.1:"+free, "127.0.0.1/"+port, "127.0.0.1/"+free)
		back = append(back, "127.0.0.1:"+free, "127.0.0.1:"+port)
	}
	x.ports, x.back = strings.NewReplacer(pairs...), strings.NewReplacer(back...)
	for path, f := range files {
		if moved := x.ports.Replace(f.text); moved != f.text {
			if err := os.WriteFile(path, []byte(moved), f.mode); err != nil {
				x.t.Fatal(err)
			}
		}
	}
}

var console = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")

// follow does what a README says.
func (x *example) follow(page string) {
	x.t.Helper()
	commands := 0
	got := console.ReplaceAllStringFunc(page, func(block string) string {
		out := "```console\n"
		for _, part := range strings.Split("\n"+console.FindStringSubmatch(block)[1], "\n$ ")[1:] {
			commands++
			command, want, _ := strings.Cut(part, "\n")
			for strings.HasSuffix(command, "\\") {
				var more string
				more, want, _ = strings.Cut(want, "\n")
				command += "\n" + more
			}
			want = strings.TrimSuffix(want, "\n")
			out += "$ " + command + "\n"
			if said := x.run(command, want); said != "" {
				out += said + "\n"
			}
		}
		return out + "```"
	})
	if commands < 3 || x.live == nil {
		x.t.Fatalf("%d commands, and whether serve is one of them: %v", commands, x.live != nil)
	}
	file := filepath.Join(x.source, "wanted.txt")
	wanted, err := os.ReadFile(file)
	if err != nil {
		x.t.Fatal(err)
	}
	all := x.settled(strings.Count(string(wanted), "\n"))
	if *updateExamples {
		if err := os.WriteFile(file, []byte(all), 0o644); err != nil {
			x.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(x.source, "README.md"), []byte(got), 0o644); err != nil {
			x.t.Fatal(err)
		}
		return
	}
	if diff := gocmp.Diff(string(wanted), all); diff != "" {
		x.t.Errorf("wanted.txt (-file +real):\n%s\n%s", diff, x.live.log())
	}
}

// run runs one command and compares what it puts out. What only asks is asked
// until the answer is as the page says, because actions take their time. The
// result is what the page should show.
func (x *example) run(command, want string) string {
	x.t.Helper()
	if background, ok := strings.CutSuffix(command, " &"); ok {
		x.start(background)
		return want
	}
	if command == "kill -HUP %1" {
		x.reload()
		return ""
	}
	asks := regexp.MustCompile(`^(pointsman (deliveries|events|why|sources|schedules list|backtest)|cat|sed -n) `).MatchString(command)
	said := x.output(command)
	for end := time.Now().Add(liveTime); asks && plain(said) != plain(want) && time.Now().Before(end); <-time.After(50 * time.Millisecond) {
		next := x.output(command)
		if *updateExamples && plain(next) == plain(said) {
			<-time.After(4 * time.Second)
			if said = x.output(command); plain(said) == plain(next) {
				break
			}
		}
		said = next
	}
	if plain(said) == plain(want) {
		return want
	}
	if !*updateExamples {
		x.t.Errorf("%s (-page +real):\n%s", command, gocmp.Diff(plain(want), plain(said)))
	}
	return said
}

// plain is plainly, and without local times and the ids that sources make.
func plain(text string) string {
	text = localTime.ReplaceAllString(text, "2006-01-02T15:04:05Z")
	return plainly(madeID.ReplaceAllString(text, "00000000-0000-0000-0000-000000000000"))
}

var (
	localTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d`)
	madeID    = regexp.MustCompile(`\b([A-Z2-7]{26}-[0-9a-z]+|[a-z]+-[0-9a-f]{32})\b`)
)

func (x *example) command(command string) *exec.Cmd {
	command = x.ports.Replace(command)
	if x.live != nil {
		command = strings.ReplaceAll(command, "http://127.0.0.1:8080", x.live.events)
	}
	cmd := exec.CommandContext(x.t.Context(), "bash", "-c", command)
	cmd.Dir = x.work
	cmd.Env = append(os.Environ(), "PATH="+x.bin+":"+os.Getenv("PATH"), "MIBS=", "SNMP_PERSISTENT_DIR="+x.bin,
		"POINTSMAN_URL=", "POINTSMAN_ADMIN_URL=", "POINTSMAN_TOKEN=")
	if x.live != nil {
		cmd.Env = append(cmd.Env, "POINTSMAN_URL="+x.live.events, "POINTSMAN_ADMIN_URL="+x.live.admin, "POINTSMAN_TOKEN="+x.live.token)
	}
	return cmd
}

func (x *example) output(command string) string {
	out, _ := x.command(command).CombinedOutput() // some of them fail, and say so
	return x.back.Replace(strings.TrimSuffix(string(out), "\n"))
}

// start starts what a README ends with an ampersand.
func (x *example) start(command string) {
	x.t.Helper()
	if env, ok := strings.CutSuffix(command, "pointsman serve"); ok {
		if env != "" {
			x.t.Fatalf("%s: put what serve needs into files", command)
		}
		x.live = startLive(x.t, x.work)
		x.live.until("every source listens", func() bool { return x.listening() })
		return
	}
	cmd := x.command("exec " + command)
	if err := cmd.Start(); err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it was told to end
	})
}

// reload is what SIGHUP to serve is, which is no job of this shell.
func (x *example) reload() {
	x.t.Helper()
	if err := x.live.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		x.t.Fatal(err)
	}
	x.live.until("the reload is logged", func() bool { return strings.Contains(x.live.log(), `"reloaded"`) })
}

// listening is false while a source does not listen yet.
func (x *example) listening() bool {
	config, err := os.ReadFile(filepath.Join(x.work, "pointsman.yaml"))
	if err != nil {
		x.t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^ +listen: (?:udp://)?(127\.0\.0\.1:[1-9]\d*)`).FindAllSubmatch(config, -1) {
		if !strings.Contains(x.live.log(), `"address":"`+string(m[1])+`"`) {
			return false
		}
	}
	return true
}

// settled waits until as many deliveries have ended, and lists them: rule,
// action, state and the output of the last attempt, sorted.
func (x *example) settled(count int) string {
	x.t.Helper()
	var lines []string
	ended := func() bool {
		lines = nil
		for _, d := range x.live.deliveries("") {
			if d.State == "ready" || d.State == "leased" {
				return false
			}
			lines = append(lines, x.line(d.ID))
		}
		return true
	}
	if *updateExamples {
		<-time.After(4 * time.Second) // nobody knows how many will come
		x.live.until("the deliveries have ended", ended)
	} else {
		x.live.until(fmt.Sprintf("%d deliveries have ended", count), func() bool { return ended() && len(lines) >= count })
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// line describes a delivery.
func (x *example) line(id string) string {
	x.t.Helper()
	status, text := x.live.get("/api/v1/deliveries/" + id)
	var d struct {
		Rule, Action, State, Error string
		DryRun                     bool `json:"dry_run"`
		History                    []struct{ Outcome, Error, Output string }
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil || status != http.StatusOK {
		x.t.Fatalf("%d %s %v", status, text, err)
	}
	state, said := d.State, d.Error
	if d.DryRun {
		state += " (dry run)"
	}
	if n := len(d.History); n > 0 {
		said = cmp.Or(d.History[n-1].Output, d.History[n-1].Error)
	}
	line := fmt.Sprintf("%s %s %s: %s", d.Rule, d.Action, state, x.back.Replace(plain(said)))
	return strings.TrimSuffix(strings.TrimSpace(line), ":") + "\n"
}
