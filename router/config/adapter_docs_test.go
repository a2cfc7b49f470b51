package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/rules"
)

// loadPage loads a configuration that a page shows.
func loadPage(t *testing.T, text string) *config.Config {
	t.Helper()
	opt := options()
	opt.Env = func(string) (string, bool) { return longSecret, true }
	c, err := config.Load(write(t, text), opt)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, w := range c.Warnings {
		t.Errorf("%s\n%s", w, text)
	}
	return c
}

// TestAdapterDocs: each adapter has a page. The source on it loads, the source of
// type webhook on it is the adapter, the sample event is what the adapter makes
// of one of its requests, and the rule matches that.
func TestAdapterDocs(t *testing.T) {
	t.Parallel()
	overview, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range config.Adapters() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile("../../docs/sources/" + name + ".md")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(overview), "(sources/"+name+".md)") {
				t.Error("docs/webhooks.md has no link to the page")
			}
			var sources []config.Source
			var ruleset *rules.Ruleset
			for _, block := range regexp.MustCompile("(?ms)^```yaml\n# (\\S+)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
				if strings.HasPrefix(block[1], "rules/") {
					if ruleset, err = rules.LoadFiles([]rules.File{{Name: block[1], Data: []byte(block[2])}}, rules.Options{}); err != nil {
						t.Fatal(err)
					}
					continue
				}
				sources = append(sources, loadPage(t, block[2]).Sources...)
			}
			if len(sources) == 0 || sources[0].Type != name || ruleset == nil {
				t.Fatalf("%d sources, rules %v", len(sources), ruleset)
			}
			if s := sources[0]; s.Protocol == "" {
				sameAsWebhook(t, s, sources[len(sources)-1])
			}
			sampleEvent(t, name, string(text), ruleset)
		})
	}
}

// sameAsWebhook compares an adapter's source with the one of type webhook that
// can be copied.
func sameAsWebhook(t *testing.T, s, hook config.Source) {
	t.Helper()
	if hook.Type != config.Webhook {
		t.Fatalf("the last source is of type %s", hook.Type)
	}
	if diff := cmp.Diff(s.Translation, hook.Translation); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(s.Auth, hook.Auth, reveal); diff != "" {
		t.Error(diff)
	}
	if s.Text != hook.Text {
		t.Errorf("text: %v", hook.Text)
	}
	if d := adapterSource(t, "name: a, type: "+s.Type); d.Dedup != hook.Dedup {
		t.Errorf("dedup %s, that of the adapter is %s", hook.Dedup, d.Dedup)
	}
}

// sampleEvent finds the sample among the wanted events, and asks the rule.
func sampleEvent(t *testing.T, name, page string, rs *rules.Ruleset) {
	t.Helper()
	_, text, _ := strings.Cut(page, "```json\n")
	text, _, found := strings.Cut(text, "```")
	if !found {
		t.Fatal("there is no sample event")
	}
	ev, err := rules.ParseEvent([]byte(text), rules.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("adapters/" + name + "/tests/*.json")
	if err != nil {
		t.Fatal(err)
	}
	same := false
	for _, file := range files {
		for _, want := range readCase(t, file).Want {
			if w, err := rules.ParseEvent(want, rules.Limits{}); err == nil && rules.Same(w, ev) {
				same = true
			}
		}
	}
	if !same {
		t.Error("no request of the tests becomes the sample event")
	}
	for _, x := range rs.Explain(ev) {
		if x.Verdict != "matched" || len(x.Calls) == 0 || x.Calls[0].Err != nil {
			t.Errorf("the rule does not match the sample event: %s: %s", x.Verdict, x.Reason)
		}
	}
}
