package config

import (
	"os/user"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

var sha256Form = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (r *reader) actions(n *strictyaml.Node) []Action {
	items, _ := n.List()
	out := make([]Action, 0, len(items))
	names := map[string]int{}
	for _, item := range items {
		out = append(out, r.action(item, names))
	}
	return out
}

func (r *reader) action(item *strictyaml.Node, names map[string]int) Action {
	m := item.Map("name", "plugin", "sha256", "mtls", "settings", "concurrency", "timeout", "retry",
		"on_uncertain", "dry_run", "overlap", "limits", "user")
	at := pos(item)
	a := Action{
		MTLS: true, Concurrency: 4, Timeout: 30 * time.Second, Pos: at, PluginPos: at, SettingsPos: at,
		Retry: Retry{Attempts: 200, MaxAge: 24 * time.Hour, Min: time.Second, Max: 15 * time.Minute},
	}
	r.unique(m, names, "action", &a.Name)
	r.plugin(m, &a)
	if s := m.Key("settings"); s != nil {
		a.SettingsPos = pos(s)
	}
	a.Settings = r.settings(m.Key("settings"))
	integer(m.Key("concurrency"), &a.Concurrency, 1, 10_000)
	r.duration(m.Key("timeout"), &a.Timeout, time.Millisecond, 30*24*time.Hour)
	r.retry(m.Key("retry"), &a.Retry)
	word := "retry"
	r.oneOf(m.Key("on_uncertain"), &word, "retry", "hold")
	a.HoldUncertain = word == "hold"
	a.DryRun, _ = m.Key("dry_run").Bool()
	a.Overlap = "allow"
	r.oneOf(m.Key("overlap"), &a.Overlap, "allow", "queue", "skip")
	r.pluginLimits(m.Key("limits"), &a.Limits)
	r.user(m.Key("user"), &a.User)
	return a
}

func (r *reader) pluginLimits(n *strictyaml.Node, to *PluginLimits) {
	m := n.Map("memory", "files", "processes", "cpu", "cpu_time")
	r.size(m.Key("memory"), &to.Memory, 16<<20, 1<<50)
	integer(m.Key("files"), &to.Files, 16, 1<<20)
	integer(m.Key("processes"), &to.Processes, 16, 1<<20)
	r.percent(m.Key("cpu"), &to.CPU)
	r.duration(m.Key("cpu_time"), &to.CPUTime, time.Second, year)
}

// percent reads such as 50% of one processor.
func (r *reader) percent(n *strictyaml.Node, to *int) {
	text, ok := r.maybe(n)
	if !ok {
		return
	}
	number, ok := strings.CutSuffix(text, "%")
	v, err := strconv.Atoi(number)
	if !ok || err != nil || v < 1 || v > 100_000 || number != strconv.Itoa(v) {
		n.Errorf("want a share of one processor from 1%% to 100000%% (such as 50%%, or 200%% for two of them)")
		return
	}
	*to = v
}

// user reads the name of a user that exists on this machine.
func (r *reader) user(n *strictyaml.Node, to *string) {
	name, ok := r.maybe(n)
	if !ok {
		return
	}
	if _, err := user.Lookup(name); err != nil {
		n.Errorf("there is no user %q on this machine (create it, or leave user out)", name)
		return
	}
	*to = name
}

// plugin tells a bundled plugin from the path of an executable by the slash.
func (r *reader) plugin(m *strictyaml.Map, a *Action) {
	n := m.Required("plugin")
	if n != nil {
		a.PluginPos = pos(n)
	}
	text, ok := r.maybe(n)
	if !ok {
		return
	}
	sum, mtls := m.Key("sha256"), m.Key("mtls")
	if !strings.ContainsRune(text, '/') {
		a.Plugin, a.Bundled = text, true
		if !slices.Contains(r.opt.Bundled, text) {
			written, _ := n.Text()
			n.Errorf("unknown plugin %q (%s; an executable needs a path such as ./%s)",
				written, strictyaml.Suggest(written, r.opt.Bundled), written)
		}
		if sum != nil {
			m.KeyNode("sha256").Errorf("a bundled plugin has no sha256 (remove it)")
		}
		if mtls != nil {
			m.KeyNode("mtls").Errorf("mtls is for plugins with a path (remove it)")
		}
		return
	}
	a.Plugin = r.path(text)
	if sum == nil {
		n.Errorf("an executable needs its sha256 (add sha256: and what sha256sum prints for it)")
	}
	if hash, ok := r.maybe(sum); ok {
		if a.SHA256 = strings.ToLower(hash); !sha256Form.MatchString(a.SHA256) {
			sum.Errorf("want 64 hexadecimal digits (what sha256sum prints)")
		}
	}
	if v, ok := mtls.Bool(); ok {
		a.MTLS = v
	}
}

func (r *reader) retry(n *strictyaml.Node, to *Retry) {
	m := n.Map("attempts", "max_age", "min", "max")
	integer(m.Key("attempts"), &to.Attempts, 1, 1_000_000)
	r.duration(m.Key("max_age"), &to.MaxAge, time.Second, year)
	r.duration(m.Key("min"), &to.Min, time.Millisecond, year)
	r.duration(m.Key("max"), &to.Max, time.Millisecond, year)
	if to.Min > to.Max {
		at := m.Key("min")
		if at == nil {
			at = m.Key("max")
		}
		at.Errorf("min (%s) is longer than max (%s)", strictyaml.FormatDuration(to.Min), strictyaml.FormatDuration(to.Max))
	}
}
