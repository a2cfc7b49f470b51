package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/rules"
)

var update = flag.Bool("update", false, "write what the adapters make of the requests into their tests")

// adapterCase is a request and what becomes of it.
type adapterCase struct {
	// About says what the request is.
	About string `json:"about"`
	// SameAs names the case whose ids these must be; all other ids differ.
	SameAs  string            `json:"same_as,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    json.RawMessage   `json:"body"`
	// Want are the events, or Problem the error.
	Want    []json.RawMessage `json:"want,omitempty"`
	Problem string            `json:"problem,omitempty"`
}

// adapterSource is what a source of a type becomes.
func adapterSource(t testing.TB, keys string) config.Source {
	t.Helper()
	opt := options()
	opt.Env = func(string) (string, bool) { return longSecret, true }
	path := filepath.Join(t.TempDir(), "pointsman.yaml")
	if err := os.WriteFile(path, []byte("sources: [{"+keys+"}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	return c.Sources[0]
}

func adapterTranslator(t testing.TB, name string) *rules.Translator {
	t.Helper()
	tr, err := rules.NewTranslator(adapterSource(t, "name: "+name+", type: "+name).Translation)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestAdapters gives every adapter the requests beside its definition. With
// -update, what becomes of them is written there.
func TestAdapters(t *testing.T) {
	t.Parallel()
	for _, name := range config.Adapters() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files, err := filepath.Glob("adapters/" + name + "/tests/*.json")
			if err != nil || len(files) < 3 {
				t.Fatalf("%d requests, %v", len(files), err)
			}
			tr := adapterTranslator(t, name)
			ids := make(map[string][]string)
			owner := make(map[string]string)
			for _, file := range files {
				c := readCase(t, file)
				got := runCase(t, tr, file, c)
				ids[filepath.Base(file)] = got
				if c.SameAs != "" {
					continue
				}
				for _, id := range got {
					if owner[id] != "" {
						t.Errorf("%s: id %s is that of an event in %s", file, id, owner[id])
					}
					owner[id] = file
				}
			}
			for _, file := range files {
				if c := readCase(t, file); c.SameAs != "" {
					if diff := cmp.Diff(ids[c.SameAs], ids[filepath.Base(file)]); diff != "" {
						t.Errorf("%s, against %s: %s", file, c.SameAs, diff)
					}
				}
			}
		})
	}
}

func readCase(t *testing.T, file string) adapterCase {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c adapterCase
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil || c.About == "" {
		t.Fatalf("%s: about %q, %v", file, c.About, err)
	}
	return c
}

// runCase returns the ids of the events.
func runCase(t *testing.T, tr *rules.Translator, file string, c adapterCase) []string {
	t.Helper()
	evs, err := tr.Events(rules.Request{Body: c.Body, Headers: c.Headers}, rules.Limits{}, 100)
	got := adapterCase{About: c.About, SameAs: c.SameAs, Headers: c.Headers, Body: c.Body}
	if err != nil {
		got.Problem = err.Error()
		var re *rules.RequestError
		if !errors.As(err, &re) {
			t.Errorf("%s: %T", file, err)
		}
	}
	ids := []string{}
	for _, ev := range evs {
		ids = append(ids, ev.ID())
		got.Want = append(got.Want, ev.JSON())
		if bytes.Contains(ev.JSON(), []byte("canary")) {
			t.Errorf("%s: a secret is in %s", file, ev.JSON())
		}
	}
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		text = []byte(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(text)))
		if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil { //nolint:gosec // a test's file, for everybody
			t.Fatal(err)
		}
		return ids
	}
	if got.Problem != c.Problem || len(evs) != len(c.Want) {
		t.Errorf("%s: %d events, problem %q; want %d, %q", file, len(evs), got.Problem, len(c.Want), c.Problem)
		return ids
	}
	for i, ev := range evs {
		want, err := rules.ParseEvent(c.Want[i], rules.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if diff := cmp.Diff(string(want.JSON()), string(ev.JSON())); diff != "" && !rules.Same(want, ev) {
			t.Errorf("%s: %s", file, diff)
		}
	}
	return ids
}

// Whatever JSON comes, an adapter makes good events of it or says what is wrong.
func FuzzAdapters(f *testing.F) {
	names := config.Adapters()
	trs := make([]*rules.Translator, len(names))
	for i, name := range names {
		trs[i] = adapterTranslator(f, name)
		files, _ := filepath.Glob("adapters/" + name + "/tests/*.json")
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			var c adapterCase
			if err := json.Unmarshal(text, &c); err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), []byte(c.Body), c.Headers["x-github-event"])
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte, event string) {
		tr := trs[int(which)%len(trs)]
		req := rules.Request{Body: body, Headers: map[string]string{"x-github-event": event, "x-gitlab-event": event}}
		evs, err := tr.Events(req, rules.Limits{}, 100)
		if err != nil {
			var re *rules.RequestError
			var ee *rules.EventError
			if !errors.As(err, &re) && !errors.As(err, &ee) {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		again, err := tr.Events(req, rules.Limits{}, 100)
		if err != nil || len(again) != len(evs) {
			t.Fatalf("%d events, then %d: %v", len(evs), len(again), err)
		}
		for i, ev := range evs {
			if _, err := rules.ParseEvent(ev.JSON(), rules.Limits{Depth: 200}); err != nil || again[i].ID() != ev.ID() {
				t.Errorf("%s, then id %s: %v", ev.JSON(), again[i].ID(), err)
			}
		}
	})
}
