package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/rules"
)

const (
	// maxConcerned and maxMisses are how many rules are shown without --all.
	maxConcerned = 20
	maxMisses    = 20
	// maxNamed is how many rules are named where they have no line.
	maxNamed = 8
	// maxShownDeliveries is how many deliveries of one step are shown.
	maxShownDeliveries = 3
	// maxConditions is how many parts of a when are shown without --rule.
	maxConditions = 8
	// maxShownParams is how much of a step's parameters is shown, in characters;
	// with --rule 20 times as much.
	maxShownParams = 200
	// maxShownText is how much of an attribute or a key is shown, in characters.
	maxShownText = 200
	// plainWidth is the width of text that goes to no terminal.
	plainWidth = 100
)

// width is how many columns to use: those of the terminal, within reason.
func (a *app) width() int {
	f, ok := a.stdout.(*os.File)
	if !ok || !a.terminal(f) {
		return plainWidth
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return plainWidth
	}
	return min(max(int(size.Col), 60), 160)
}

// whyText writes the answer to why for people.
type whyText struct {
	width int
	now   time.Time
	// all lifts the limits on rules, detail those on one rule.
	all, detail bool
	// file is where an event that was not sent came from.
	file string

	b strings.Builder
}

func (t *whyText) render(answer *admin.Why) string {
	t.event(answer)
	concerned, misses := split(answer.Verdicts)
	if !t.detail {
		t.count(answer.Verdicts)
	}
	for i := range concerned {
		if i == maxConcerned && !t.all {
			fmt.Fprintf(&t.b, "\nand %d more (see --all, --rule NAME)\n", len(concerned)-i)
			break
		}
		t.rule(answer, &concerned[i])
	}
	if t.detail {
		for i := range misses {
			t.rule(answer, &misses[i])
		}
	} else {
		t.misses(misses, len(concerned) == 0)
	}
	return t.b.String()
}

// split parts the rules that an event concerns from those it does not.
func split(vs []admin.Verdict) (concerned, misses []admin.Verdict) {
	for _, v := range vs {
		if v.Verdict == router.VerdictNotMatched {
			misses = append(misses, v)
		} else {
			concerned = append(concerned, v)
		}
	}
	return concerned, misses
}

// event writes which event it is and what happened to it as a whole.
func (t *whyText) event(answer *admin.Why) {
	at := attributesOf(answer.Event.Event)
	what := fmt.Sprintf("%s from %s", first(at.Type, "?"), shorten(first(at.Source, "?"), maxShownText))
	if at.Subject != "" {
		what += ", subject " + shorten(at.Subject, maxShownText)
	}
	if answer.UID == "" {
		name := t.file
		if name == "-" {
			name = "standard input"
		}
		t.line("", fmt.Sprintf("event of %s: %s", name, what))
		t.line("  ", "not sent, explained by the rule files. Not known without the router: whether its id is a "+
			"duplicate, and what once would do.")
		return
	}
	e := answer.Event
	t.line("", fmt.Sprintf("event %s: %s", first(at.ID, "?"), what))
	t.entry("received", fmt.Sprintf("%s%s by source %s", when(e.Received), t.ago(e.Received), e.Source))
	if e.Duplicates == 0 {
		t.entry("duplicates", "none")
	} else {
		t.entry("duplicates", number(e.Duplicates, "later arrival was", "later arrivals were")+
			" suppressed (duplicate): no rule was asked, nothing was started")
	}
	if answer.InForce {
		t.entry("rules", "revision "+e.Revision+", in force now")
	} else {
		t.entry("rules", fmt.Sprintf("revision %s, replaced since: %s is in force now", first(e.Revision, "?"), first(answer.Revision, "?")))
	}
	t.entry("uid", e.UID)
	if answer.DeliveriesMore {
		t.entry("deliveries", fmt.Sprintf("more than %d, the oldest are not shown below: pointsman deliveries list --event %s", admin.MaxPage, e.UID))
	}
	if answer.Others > 0 {
		more := ""
		if answer.Others == admin.MaxOthers {
			more = " (or more)"
		}
		t.entry("same id", fmt.Sprintf("%s accepted%s, this is the newest: pointsman events show %s --all",
			number(answer.Others, "other event of this id was", "other events of this id were"), more, shellWord(at.ID)))
	}
}

// verdictOrder is the order in which verdicts are counted out.
func verdictOrder() []string {
	return []string{
		router.VerdictMatched, router.VerdictError, router.VerdictHeld, router.VerdictThrottled,
		router.VerdictSkipped, router.VerdictDryRun, router.VerdictNotMatched,
	}
}

func (t *whyText) count(vs []admin.Verdict) {
	n := make(map[string]int)
	order := verdictOrder()
	for i := range vs {
		n[vs[i].Verdict]++
		if !slices.Contains(order, vs[i].Verdict) { // of a router that knows more words
			order = append(order, vs[i].Verdict)
		}
	}
	var parts []string
	for _, word := range order {
		if n[word] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[word], word))
		}
	}
	switch {
	case len(vs) == 0:
		t.entry("verdicts", "there are no rules")
	case n[router.VerdictNotMatched] == len(vs):
		text := strings.Join(parts, ", ") + ": nothing was to be run"
		if vs[0].OtherType { // it is the nearest
			text += "; every rule is about another type of event"
		}
		t.entry("verdicts", text)
	default:
		t.entry("verdicts", strings.Join(parts, ", "))
	}
}

// rule writes all about one rule.
func (t *whyText) rule(answer *admin.Why, v *admin.Verdict) {
	head := fmt.Sprintf("%s  %s", v.Verdict, v.Rule)
	if v.File != "" {
		head += fmt.Sprintf("  (%s:%d)", v.File, v.Line)
	}
	t.b.WriteString("\n")
	t.line("", head)
	if !t.told(v) {
		t.entry("why", first(v.Reason, "-"))
	}
	t.conditions(v)
	if v.Key != "" {
		t.entry("key", shorten(v.Key, maxShownText))
	}
	if v.Note != "" {
		t.entry("once", strings.TrimPrefix(v.Note, "once "))
	}
	if v.Verdict != router.VerdictThrottled || t.detail {
		t.steps(answer, v)
	}
	if v.Now != nil {
		t.entry("now", fmt.Sprintf("the rules in force now would say %s: %s", v.Now.Verdict, v.Now.Reason))
	}
}

// told tells whether the lines below a rule's head say what its reason does.
func (t *whyText) told(v *admin.Verdict) bool {
	switch v.Verdict {
	case router.VerdictNotMatched:
		return len(v.Conditions) > 0 && v.Nearness < 1
	case router.VerdictMatched, router.VerdictDryRun, router.VerdictSkipped:
		return len(v.Conditions) > 0
	case router.VerdictError:
		for i := range v.Deliveries {
			if e := v.Deliveries[i].Error; e != "" && strings.Contains(v.Reason, e) {
				return true
			}
		}
		for i := range v.Calls {
			if e := v.Calls[i].Error; e != "" && len(v.Deliveries) == 0 && strings.Contains(v.Reason, e) {
				return true
			}
		}
	}
	return false
}

func (t *whyText) conditions(v *admin.Verdict) {
	if len(v.Conditions) == 0 || v.Verdict == router.VerdictThrottled && !t.detail {
		return
	}
	holds := 0
	for i, c := range v.Conditions {
		if c.Result == "true" {
			holds++
		}
		if i >= maxConditions && !t.detail {
			continue
		}
		name := ""
		if i == 0 {
			name = "when"
		}
		t.condition(name, c)
	}
	if more := len(v.Conditions) - maxConditions; more > 0 && !t.detail {
		t.entry("", fmt.Sprintf("and %d more; --rule %s shows them", more, v.Rule))
	}
	if v.Verdict == router.VerdictNotMatched {
		t.entry("", fmt.Sprintf("%d of %d hold", holds, len(v.Conditions)))
	}
}

// condition writes one part of a when: on one line what it saw, or below it when
// it consists of parts itself.
func (t *whyText) condition(name string, c rules.Condition) {
	const more = 7 // the width of the result
	text := fmt.Sprintf("%-5s  %s", c.Result, c.Text)
	seen := strings.Split(c.Saw, "; ")
	switch {
	case len(seen) > 1 || strings.Contains(c.Saw, " is true: ") || strings.Contains(c.Saw, " is false: "):
		t.entryUnder(name, text, more)
		for _, s := range seen {
			t.wrapped(strings.Repeat(" ", entryIndent+more+2), entryIndent+more+4, s)
		}
	case c.Saw == "" || c.Saw == c.Text+" is "+c.Result:
		t.entryUnder(name, text, more)
	default:
		t.entryUnder(name, text+": "+strings.TrimPrefix(c.Saw, c.Text+" "), more)
	}
}

// steps writes what each step was to run, and what became of it.
func (t *whyText) steps(answer *admin.Why, v *admin.Verdict) {
	byStep := make(map[int][]admin.WhyDelivery)
	for _, d := range v.Deliveries {
		if d.Rule == "" { // the one record of all rules that are held for fan-out
			t.deliveries(answer, v, "delivery", "", []admin.WhyDelivery{d})
			continue
		}
		byStep[d.Step] = append(byStep[d.Step], d)
	}
	for _, c := range v.Calls {
		text := c.Action
		switch {
		case c.Skipped:
			text += " skipped: " + first(c.Reason, "its if is false")
		case c.Error != "" && len(byStep[c.Step]) == 0:
			text += " fails: " + c.Error
		case len(c.Params) > 0 && string(c.Params) != "null":
			text += " " + shorten(string(c.Params), t.maxParams())
		}
		if t.detail && !c.Skipped && strings.HasPrefix(c.Reason, "if is ") {
			text += ", its " + c.Reason
		}
		t.deliveries(answer, v, fmt.Sprintf("step %d", c.Step+1), text, byStep[c.Step])
		delete(byStep, c.Step)
	}
	for _, d := range v.Deliveries { // of a key that failed: it stands for every step
		if ds, ok := byStep[d.Step]; ok {
			t.deliveries(answer, v, "steps", "", ds)
			delete(byStep, d.Step)
		}
	}
}

func (t *whyText) maxParams() int {
	if t.detail {
		return 20 * maxShownParams
	}
	return maxShownParams
}

func (t *whyText) deliveries(answer *admin.Why, v *admin.Verdict, name, text string, ds []admin.WhyDelivery) {
	if text != "" {
		t.entry(name, text)
		name = ""
	}
	for i := range ds {
		if i == maxShownDeliveries && !t.detail {
			t.entry("", fmt.Sprintf("and %d more:", len(ds)-i))
			t.command(fmt.Sprintf("pointsman deliveries list --event %s --rule %s", answer.UID, v.Rule))
			break
		}
		t.entry(name, ds[i].Summary)
		if ds[i].Output != "" {
			t.entry("", "output: "+ds[i].Output)
		}
		if ds[i].Next != "" {
			t.command(ds[i].Next)
		}
		name = ""
	}
}

// misses lists the rules that did not match, the nearest first, and counts those
// that nobody would look at. With alone, some are listed however far they are.
func (t *whyText) misses(vs []admin.Verdict, alone bool) {
	near, far := vs, []admin.Verdict(nil)
	if !t.all {
		near, far = t.near(vs)
		if n := min(len(far), maxMisses); alone && len(near) == 0 {
			near, far = far[:n], far[n:]
		}
	}
	if len(vs) > 0 {
		t.b.WriteString("\n")
	}
	t.table(near)
	t.far(far)
}

// table lists rules that did not match.
func (t *whyText) table(near []admin.Verdict) {
	if len(near) == 0 {
		return
	}
	rule := len("RULE")
	for i := range near {
		rule = max(rule, len(near[i].Rule))
	}
	indent := len("not_matched") + 2 + rule + 2 + len("HOLDS") + 2
	fmt.Fprintf(&t.b, "%-11s  %-*s  %s  %s\n", "VERDICT", rule, "RULE", "HOLDS", "REASON")
	for i := range near {
		v := &near[i]
		holds := 0
		for _, c := range v.Conditions {
			if c.Result == "true" {
				holds++
			}
		}
		share := "-"
		if len(v.Conditions) > 0 {
			share = fmt.Sprintf("%d/%d", holds, len(v.Conditions))
		}
		reason := first(v.Reason, "-")
		if v.Now != nil {
			reason += fmt.Sprintf(" (the rules in force now would say %s)", v.Now.Verdict)
		}
		t.wrapped(fmt.Sprintf("%-11s  %-*s  %-5s  ", v.Verdict, rule, escape(v.Rule), share), indent, reason)
	}
}

// near picks the misses that are worth a line: those about this type of event,
// and those of which nothing but the type differs.
func (t *whyText) near(vs []admin.Verdict) (near, far []admin.Verdict) {
	for _, v := range vs {
		onlyType := len(v.Conditions) > 1 && v.Nearness >= 1-1/float64(len(v.Conditions))-0.001
		if v.OtherType && !onlyType || len(near) == maxMisses {
			far = append(far, v)
		} else {
			near = append(near, v)
		}
	}
	return near, far
}

// far counts the misses that are not worth a line, and names a few.
func (t *whyText) far(vs []admin.Verdict) {
	if len(vs) == 0 {
		return
	}
	what := "further away"
	if !slices.ContainsFunc(vs, func(v admin.Verdict) bool { return !v.OtherType }) {
		what = "about other types of event"
	}
	text := fmt.Sprintf("and %s %s", number(len(vs), "more rule is", "more rules are"), what)
	if len(vs) <= maxNamed {
		names := make([]string, len(vs))
		for i := range vs {
			names[i] = vs[i].Rule
		}
		text += ": " + strings.Join(names, ", ")
	}
	t.line("", text+" (see --all, --rule NAME)")
}

// entryIndent is where the text of an entry begins.
const entryIndent = 14

// entry writes "  name  text" with the text aligned and wrapped.
func (t *whyText) entry(name, text string) { t.entryUnder(name, text, 0) }

// entryUnder is entry with later lines indented by more.
func (t *whyText) entryUnder(name, text string, more int) {
	t.wrapped(fmt.Sprintf("  %-*s", entryIndent-2, name), entryIndent+more, text)
}

// command writes a command to be copied, which is never wrapped.
func (t *whyText) command(text string) {
	fmt.Fprintf(&t.b, "%s-> %s\n", strings.Repeat(" ", entryIndent), escape(text))
}

func (t *whyText) line(lead, text string) { t.wrapped(lead, len(lead), text) }

// wrapped writes lead and text, which is broken between words where it gets too
// wide, and within one that is too wide for itself; later lines are indented.
func (t *whyText) wrapped(lead string, indent int, text string) {
	room := max(t.width-indent, 30)
	t.b.WriteString(lead)
	line := []rune(escape(text))
	for len(line) > room {
		at := room
		for at > room/2 && line[at] != ' ' {
			at--
		}
		if line[at] != ' ' {
			at = room
		}
		t.b.WriteString(strings.TrimRight(string(line[:at]), " ") + "\n" + strings.Repeat(" ", indent))
		line = []rune(strings.TrimLeft(string(line[at:]), " "))
	}
	t.b.WriteString(string(line) + "\n")
}

// ago says how long ago a time was in its two greatest units, as in " (2h5m
// ago)"; nothing when it is a month or more, where a date says more.
func (t *whyText) ago(at time.Time) string {
	const day = 24 * time.Hour
	d := max(t.now.Sub(at), 0).Truncate(time.Second)
	switch {
	case d >= 30*day:
		return ""
	case d >= day:
		return fmt.Sprintf(" (%dd%dh ago)", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf(" (%dh%dm ago)", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf(" (%s ago)", d)
}

func number(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// shorten cuts a text at n characters.
func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
