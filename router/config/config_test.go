package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/store"
)

const longSecret = "0123456789abcdef-long"

func options() config.Options {
	env := map[string]string{"TOKEN": longSecret, "SHORT": "shh-shh", "PORT": "9000", "WAIT": "45s", "EMPTY": ""}
	return config.Options{
		Bundled: []string{"exec", "http", "log"},
		Env:     func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	}
}

// write puts a configuration into a folder of its own and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pointsman.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Load(write(t, text), options())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var reveal = cmp.Transformer("reveal", func(s config.Secret) string { return s.Reveal() })

func TestDefaults(t *testing.T) {
	t.Parallel()
	c := load(t, "# empty\n")
	want := &config.Config{
		File: c.File, Dir: filepath.Dir(c.File), Name: "default", Listen: "127.0.0.1:8080",
		Admin:      config.Admin{Listen: "127.0.0.1:8081"},
		DataDir:    filepath.Join(c.Dir, "pointsman-data"),
		Store:      config.Store{Kind: config.SQLite, Path: filepath.Join(c.Dir, "pointsman-data", "pointsman.db")},
		Durability: store.Process, Rules: []string{"rules/*.yaml"},
		Events:        config.Events{Dedup: 24 * time.Hour},
		Retention:     config.Retention{Events: 168 * time.Hour, Deliveries: 720 * time.Hour, Size: 8 << 30},
		Limits:        config.Limits{Body: 1 << 20, BatchBody: 8 << 20, Batch: 1000, Depth: 64, DeliveriesPerEvent: 1000, Hops: 8, Connections: 4096},
		ShutdownGrace: 10 * time.Second,
	}
	opts := cmp.Options{reveal, cmpopts.IgnoreUnexported(config.Config{}), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(want, c, opts); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got, want := c.AdminTokenFile(), filepath.Join(c.DataDir, "admin-token"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEverything(t *testing.T) {
	t.Parallel()
	c := load(t, `
name: ams1
listen: 0.0.0.0:${env:PORT}
admin: {listen: "[::1]:9001", token: "${env:TOKEN}"}
data_dir: /var/lib/pointsman
store: rediss://user:${env:TOKEN}@redis.example.net:6380/2
durability: strict
rules: [./a/*.yaml, b.yaml]
events: {auth: {bearer: "${env:TOKEN}", query: true}, dedup: 1h, origins: ["*", monitor.example.net]}
retention: {events: 1d, deliveries: 2d}
limits: {body: 2MiB, batch_body: 4MiB, batch: 10, depth: 8, deliveries_per_event: 5}
shutdown_grace: ${env:WAIT}
actions:
  - name: bounce
    plugin: exec
    settings: {command: [./bounce.sh, 5, 1.5, true], env: {KEY: "${env:TOKEN}"}}
    concurrency: 2
    timeout: 1m
    retry: {attempts: 3, max_age: 1h, min: 2s, max: 30s}
    on_uncertain: hold
    dry_run: true
  - name: own
    plugin: ./plugins/own
    sha256: `+strings.Repeat("AB", 32)+`
    mtls: false
`)
	if c.Listen != "0.0.0.0:9000" || c.Admin.Listen != "[::1]:9001" || c.Admin.Token.Reveal() != longSecret {
		t.Errorf("listeners: %s, %s", c.Listen, c.Admin.Listen)
	}
	if c.Store.Kind != config.Redis || c.Store.Address != "rediss://redis.example.net:6380/2" ||
		c.Store.URL.Reveal() != "rediss://user:"+longSecret+"@redis.example.net:6380/2" {
		t.Errorf("store: %+v", c.Store)
	}
	if diff := cmp.Diff(config.Auth{Kind: config.AuthBearer, Token: config.NewSecret(longSecret), Query: true}, c.Events.Auth, reveal); diff != "" {
		t.Errorf("auth: -want +got\n%s", diff)
	}
	if c.Retention.Size != 1<<30 || c.ShutdownGrace != 45*time.Second || c.Durability != store.Strict {
		t.Errorf("%+v, %v, %v", c.Retention, c.ShutdownGrace, c.Durability)
	}
	_, patterns := c.RulesFS()
	if diff := cmp.Diff([]string{"a/*.yaml", "b.yaml"}, patterns); diff != "" {
		t.Errorf("rules: -want +got\n%s", diff)
	}
	want := []config.Action{
		{
			Name: "bounce", Plugin: "exec", Bundled: true, MTLS: true, Concurrency: 2, Timeout: time.Minute,
			Settings:      config.NewSecret(`{"command":["./bounce.sh",5,1.5,true],"env":{"KEY":"` + longSecret + `"}}`),
			Retry:         config.Retry{Attempts: 3, MaxAge: time.Hour, Min: 2 * time.Second, Max: 30 * time.Second},
			HoldUncertain: true, DryRun: true, Overlap: "allow",
		},
		{
			Name: "own", Plugin: filepath.Join(c.Dir, "plugins/own"), SHA256: strings.Repeat("ab", 32), Concurrency: 4,
			Timeout: 30 * time.Second, Settings: config.NewSecret("{}"),
			Retry:   config.Retry{Attempts: 200, MaxAge: 24 * time.Hour, Min: time.Second, Max: 15 * time.Minute},
			Overlap: "allow",
		},
	}
	if diff := cmp.Diff(want, c.Actions, reveal, cmpopts.IgnoreTypes(config.Pos{})); diff != "" {
		t.Errorf("actions: -want +got\n%s", diff)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	bounce, _ := c.Action("bounce")
	got := c.Problem(bounce.SettingsPos, "no").Error()
	if !strings.Contains(got, ":16:15: no\n    ") || !strings.Contains(got, "settings: {command") {
		t.Error(got)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"several at once", "nmae: x\nlisten: 8080\nactions:\n  - {name: a, plugin: exce}\n  - {name: a, plugin: exec}\n", `
1:1: unknown key "nmae" (did you mean "name"?)
2:9: want host:port, such as 127.0.0.1:8080, got an integer
4:23: unknown plugin "exce" (did you mean "exec"?; an executable needs a path such as ./exce)
5:12: action "a" is defined in line 4 already`},
		{"source type", "sources:\n  - {name: x, type: nettbox, auth: {token: hunter2}}\n  - {name: y}\n  - z\n", `
2:21: unknown source type "nettbox" (did you mean "netbox"?)
3:5: "type" is missing
4:5: want a mapping, got text`},
		{"open to other hosts", "listen: :8080\n", `
1:9: POST /events is open to other hosts and asks for no authentication (set events.auth, listen on 127.0.0.1, or say insecure: true at the top level)`},
		{"open to other hosts, said so in events", "listen: 192.0.2.1:80\nevents: {auth: none}\n", `
2:16: POST /events is open to other hosts and asks for no authentication (set events.auth, listen on 127.0.0.1, or say insecure: true at the top level)`},
		{"references", "name: ${env:NOPE}\nevents: {auth: {bearer: \"${file:no/such}\"}}\nshutdown_grace: ${env:TOKEN}\ndata_dir: x${env:TOKEN\nstore: ${env:}\nlisten: ${env:SHORT}\n", `
1:7: environment variable NOPE is not set
2:26: file DIR/no/such cannot be read: no such file or directory
3:17: what the reference stands for is not a duration
4:12: reference is not closed (add "}")
5:8: reference ${env:} names nothing
6:9: want host:port, such as 127.0.0.1:8080`},
		{"short secrets", "admin: {token: \"${env:SHORT}\"}\nevents: {auth: {hmac: {header: X-Sig, secrets: [hunter2, \"${env:EMPTY}\"]}}}\n", `
1:16: the secret has 7 bytes, at least 16 are needed (openssl rand -hex 32 makes a good one)
2:49: the secret has 7 bytes, at least 16 are needed (openssl rand -hex 32 makes a good one)
2:58: the secret is empty`},
		{"auth forms", "events: {auth: {bearer: a, basic: b}}\n", `
1:16: want exactly one of hmac, bearer, basic, token, certificate`},
		{"auth word", "events: {auth: hunter2}\n", `
1:16: unknown auth (write none, {bearer: TOKEN}, {basic: ...}, {hmac: ...}, {token: TOKEN} or {certificate: ...})`},
		{"hmac", "events: {auth: {hmac: {secret: \"${env:TOKEN}\", algorithm: md5}}}\n", `
1:23: "header" is missing (the header that carries the signature)
1:59: unknown value "md5" (known: sha1, sha256, sha512)`},
		{"token of no vendor", "events: {auth: {token: \"${env:TOKEN}\"}}\n", `
1:17: token is for senders with a header of their own (use bearer)`},
		{"certificate", "events: {auth: {certificate: {names: [\"m*.example.net\"]}}}\nsources:\n  - {name: w, type: webhook, auth: {certificate: {names: []}}, event: {type: \"'x'\"}}\n", `
1:30: no client is asked for a certificate (set tls.client_ca)
1:39: a * stands for the whole first label only, as in *.mon.example.net
3:50: no client is asked for a certificate (set tls.client_ca)
3:58: want at least one name (for any certificate of tls.client_ca, leave auth out)`},
		{"rates", "events: {rate: 100}\nsources:\n  - {name: w, type: webhook, rate: 5/d, event: {type: \"'x'\"}}\n  - {name: v, type: webhook, rate: 0/s, event: {type: \"'x'\"}}\n", `
1:16: want text, got an integer (write "100" in quotes)
3:36: want a number of events and a unit, such as 100/s, 600/m or 1000/h (leave it out for no limit)
4:36: want a number of events and a unit, such as 100/s, 600/m or 1000/h (leave it out for no limit)`},
		{"sentinel", "store: redis+sentinel://a,b/mymaster\n", `
1:8: Redis Sentinel and Cluster are not supported (give one server: redis://host:6379/0)`},
		{"cluster", "store: redis://a:1,b:2/0\n", `
1:8: Redis Sentinel and Cluster are not supported (give one server: redis://host:6379/0)`},
		{"redis database", "store: redis://:hunter2@h/x?y=1\n", `
1:8: a Redis URL takes no parameters (remove what follows the database number)
1:8: the path of a Redis URL is the number of a database (write /0)`},
		{"other store", "store: postgres://hunter2@x\n", `
1:8: unknown store (write sqlite, sqlite:PATH, redis://host:6379/0 or rediss://host:6379/0)`},
		{"executable", "actions:\n  - {name: a, plugin: /bin/true}\n  - {name: b, plugin: ./x, sha256: \"12\"}\n  - {name: c, plugin: log, sha256: \"12\", mtls: true}\n", `
2:23: an executable needs its sha256 (add sha256: and what sha256sum prints for it)
3:36: want 64 hexadecimal digits (what sha256sum prints)
4:28: a bundled plugin has no sha256 (remove it)
4:42: mtls is for plugins with a path (remove it)`},
		{"action values", "actions:\n  - name: a b\n    plugin: log\n    concurrency: 0\n    timeout: 30\n    retry: {attempts: 0, min: 1h}\n    on_uncertain: hodl\n    settings: [x]\n", `
2:11: "a b" is not a name (1 to 63 letters, digits, ".", "_" and "-", a letter or digit first)
4:18: 0 is out of range (1 to 10000)
5:14: a duration needs a unit (write "30s" for seconds)
6:23: 0 is out of range (1 to 1000000)
6:31: min (1h) is longer than max (15m)
7:19: unknown value "hodl" (did you mean "hold"?)
8:15: want a mapping, got a list`},
		{"rules outside", "rules: [../x/*.yaml, /etc/rules.yaml, \"[\"]\n", `
1:9: "../x/*.yaml" is outside the folder of the configuration file (rule files live in it)
1:22: "/etc/rules.yaml" is outside the folder of the configuration file (rule files live in it)
1:39: "[" is not a pattern: a [ or \ is not closed`},
		{"tls", "tls: {cert: no.pem, key: no.key, client_ca: no.ca}\n", `
1:13: certificate and key: open DIR/no.pem: no such file or directory
1:45: file DIR/no.ca cannot be read: no such file or directory`},
		{"not YAML", "events: {auth: {bearer: \"hunter2}}\n", `
1:25: found unexpected end of stream while scanning a quoted scalar`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, tt.in)
			_, err := config.Load(path, options())
			if err == nil {
				t.Fatal("no error")
			}
			for _, secret := range []string{"hunter2", longSecret, "shh-shh"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows a secret:\n%s", err)
				}
			}
			var got strings.Builder
			for line := range strings.Lines(err.Error()) {
				if rest, ok := strings.CutPrefix(line, path+":"); ok {
					got.WriteString("\n" + strings.TrimSpace(strings.ReplaceAll(rest, filepath.Dir(path), "DIR")))
				}
			}
			if diff := cmp.Diff(tt.want, got.String()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestFileReferencesAndWarnings(t *testing.T) {
	t.Parallel()
	path := write(t, `admin: {token: "${file:token}"}
durability: none
events: {auth: {basic: {user: u, password: hunter2}}}
store: redis://:hunter2@h:6379/0
actions: [{name: a, plugin: http, settings: {secret: hunter2}}]
`)
	token := filepath.Join(filepath.Dir(path), "token")
	if err := os.WriteFile(token, []byte(longSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, options())
	if err != nil {
		t.Fatal(err)
	}
	if c.Admin.Token.Reveal() != longSecret {
		t.Error("one newline at the end is dropped")
	}
	var got strings.Builder
	for _, w := range c.Warnings {
		got.WriteString(strings.TrimPrefix(w.Error(), path) + "\n")
	}
	want := `:2:13: accepted events can be lost with durability none
    durability: none
                ^
:3:44: a secret is written out here (use ${env:NAME} or ${file:PATH})
    events: {auth: {basic: {user: u, password: ***}}}
                                               ^
:4:8: a secret is written out here (use ${env:NAME} or ${file:PATH})
    store: ***
           ^
:5:54: a secret is written out here (use ${env:NAME} or ${file:PATH})
    actions: [{name: a, plugin: http, settings: {secret: ***}}]
                                                         ^
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	s := config.NewSecret("hunter2")
	type holder struct{ S config.Secret }
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "s", s, "h", holder{s})
	encoded, err := json.Marshal(map[string]any{"s": s, "p": &s, "h": holder{s}})
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(encoded)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		all += fmt.Sprintf(verb+verb+verb, s, &s, holder{s})
	}
	if strings.Contains(all, "hunter") || strings.Contains(all, "68756e74") {
		t.Error(all)
	}
	if !s.Equal("hunter2") || s.Equal("hunter3") || s.IsZero() {
		t.Error("a secret compares by its text")
	}
}

func TestLoadTellsWhyAFileCannotBeRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none.yaml")
	_, err := config.Load(path, options())
	want := "configuration: open " + path + ": no such file or directory"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// FuzzLoad states: no file makes Load panic, and whatever is loaded has values
// that the router can run with.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"", "name: x\n", "listen: :80\ninsecure: true\n", "store: redis://h/1\n", "events: {auth: {hmac: {secret: ${env:TOKEN}, header: x}}}\n",
		"actions: [{name: a, plugin: log, retry: {min: 1m}, settings: {secret: x}}]\n", "sources: [{name: x}]\n", "tls: {cert: x}\n",
	} {
		f.Add(seed)
	}
	path := filepath.Join(f.TempDir(), "pointsman.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, options())
		if err != nil {
			return
		}
		if c.Name == "" || c.Store.Kind == 0 || c.Durability == 0 || c.Limits.Batch < 1 || !filepath.IsAbs(c.DataDir) {
			t.Fatalf("%+v", c)
		}
		for _, a := range c.Actions {
			if a.Name == "" || a.Plugin == "" || a.Concurrency < 1 || a.Retry.Min > a.Retry.Max || !json.Valid([]byte(a.Settings.Reveal())) {
				t.Fatalf("%+v", a)
			}
		}
	})
}
