package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const alertmanagerToken = "the token of the example in tests"

// startAlertmanagerExample runs a copy of examples/alertmanager.
func startAlertmanagerExample(t *testing.T) *live {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../examples/alertmanager")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(alertmanagerToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return startLive(t, dir)
}

func TestAlertmanagerExample(t *testing.T) {
	t.Parallel()
	l := startAlertmanagerExample(t)
	group, err := os.ReadFile("../../examples/alertmanager/events/group.json")
	if err != nil {
		t.Fatal(err)
	}
	annotated := strings.Replace(string(group), "failed 2 times", "failed 3 times", 1)
	if annotated == string(group) {
		t.Fatal("the example has no such annotation")
	}
	auth := "Authorization: Bearer " + alertmanagerToken
	if status, body := l.post("/hooks/alertmanager", string(group)); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d %s", status, body)
	}
	for i, text := range []string{string(group), string(group), annotated} {
		status, body := l.post("/hooks/alertmanager", text, auth, "Content-Type: application/json")
		want := fmt.Sprintf(`[{"id":"3c9e5a1f0b7d2e84/2026-03-01T02:14:07.512Z/firing","source":"alertmanager","duplicate":%v},`+
			`{"id":"a07714c2d95be6f3/2026-03-01T01:40:00Z/resolved","source":"alertmanager","duplicate":%[1]v}]`+"\n", i > 0)
		if status != http.StatusAccepted || body != want {
			t.Errorf("%d: %d %s", i, status, body)
		}
	}
	l.until("both deliveries are done", func() bool { return len(l.deliveries("done")) == 2 })
	if all := l.deliveries(""); len(all) != 2 {
		t.Errorf("%v", all)
	}
	for _, d := range l.deliveries("") {
		_, text := l.get("/api/v1/deliveries/" + d.ID)
		want := "restarted backup.service on db1"
		if d.Rule == "note-resolved" {
			want = "2026-03-01T01:40:00Z"
		}
		if !strings.Contains(text, want) {
			t.Errorf("%s: %s", d.Rule, text)
		}
	}
}

// What was taken before a restart is a duplicate after it.
func TestWebhookIsRememberedOverARestart(t *testing.T) {
	t.Parallel()
	l := startAlertmanagerExample(t)
	group, err := os.ReadFile("../../examples/alertmanager/events/group.json")
	if err != nil {
		t.Fatal(err)
	}
	auth := "Authorization: Bearer " + alertmanagerToken
	for _, want := range []string{`"duplicate":false`, `"duplicate":true`} {
		if status, body := l.post("/hooks/alertmanager", string(group), auth); status != http.StatusAccepted || strings.Count(body, want) != 2 {
			t.Errorf("%d %s, want %s", status, body, want)
		}
		l.until("both deliveries are done", func() bool { return len(l.deliveries("done")) == 2 })
		l.stop()
		l = startLive(t, l.dir)
	}
	if all := l.deliveries(""); len(all) != 2 {
		t.Errorf("%v", all)
	}
}

// A sender's mistakes change nothing, and a reload takes the sources as a whole.
func TestReloadTakesSources(t *testing.T) {
	t.Parallel()
	l := startAlertmanagerExample(t)
	if status, _ := l.post("/hooks/second", "{}"); status != http.StatusNotFound {
		t.Errorf("before the reload: %d", status)
	}
	path := filepath.Join(l.dir, "pointsman.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	source := "sources:\n  - {name: second, type: webhook, event: {type: '\"t\"'}}\n"
	bad := strings.Replace(string(text), "sources:\n", strings.Replace(source, `'"t"'`, "item.t", 1), 1)
	reload := func(text, logged string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := l.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		l.until("the reload is logged", func() bool { return strings.Contains(l.log(), logged) })
	}
	reload(bad, `"reload changed nothing"`)
	if !strings.Contains(l.log(), `unknown name \"item\"`) {
		t.Errorf("log: %s", l.log())
	}
	if status, _ := l.post("/hooks/second", "{}"); status != http.StatusNotFound {
		t.Errorf("after a reload that failed: %d", status)
	}
	reload(strings.Replace(string(text), "sources:\n", source, 1), `"reloaded"`)
	if status, body := l.post("/hooks/second", "{}"); status != http.StatusAccepted {
		t.Errorf("after the reload: %d %s", status, body)
	}
}

// TestAlertmanager fires an alert through the real program.
func TestAlertmanager(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		t.Skip("SKIPPED: prometheus-alertmanager is not installed, so the real sender is NOT tested (apt-get install prometheus-alertmanager)")
	}
	l := startAlertmanagerExample(t)
	config, err := os.ReadFile("../../examples/alertmanager/alertmanager.yml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "http://127.0.0.1:8080", l.events, 1)
	if text == string(config) {
		t.Fatal("the example names another address")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(alertmanagerToken), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	cmd := exec.Command(program, "--config.file="+file, "--storage.path="+dir, "--cluster.listen-address=",
		"--web.listen-address="+address)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it was told to end
	}()
	alert := `[{"labels": {"alertname": "SystemdUnitFailed", "instance": "db1", "name": "backup.service"},
		"annotations": {"summary": "it failed"}, "startsAt": "2026-03-01T02:14:07.512Z"}]`
	l.until("Alertmanager takes the alert", func() bool {
		res, err := http.Post("http://"+address+"/api/v2/alerts", "application/json", strings.NewReader(alert))
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	l.until("the unit is restarted", func() bool {
		if text, err := os.ReadFile(log.Name()); err == nil && strings.Contains(string(text), "unexpected status code") {
			t.Fatalf("Alertmanager is refused\n%s", text)
		}
		return len(l.deliveries("done")) == 1
	})
	_, page := l.get("/api/v1/events")
	var events struct {
		Events []struct {
			Event struct {
				ID, Type, Subject, Source string
				Data                      struct {
					Annotations map[string]string
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(page), &events); err != nil || len(events.Events) != 1 {
		t.Fatalf("%v %s", err, page)
	}
	ev := events.Events[0].Event
	if !strings.HasSuffix(ev.ID, "/2026-03-01T02:14:07.512Z/firing") || ev.Type != "alertmanager.alert.firing" ||
		ev.Subject != "SystemdUnitFailed/db1" || ev.Source != "pointsman:/hooks/alertmanager" || ev.Data.Annotations["summary"] != "it failed" {
		t.Errorf("%s", page)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
