package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/replay"
)

// same says whether a step caused exactly what it should.
func same(want, got []Expect) bool {
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if !matches(&want[i], &got[i]) {
			return false
		}
	}
	return true
}

// pairs says whether both are of the same rule and step, as far as it is said.
func pairs(want, got *Expect) bool {
	return want.Rule == got.Rule && (want.Action == "" && want.Error != "" || want.Action == got.Action)
}

func matches(want, got *Expect) bool {
	switch {
	case !pairs(want, got):
		return false
	case want.Error != "":
		return strings.Contains(got.Error, want.Error)
	case got.Error != "":
		return false
	}
	return want.With == nil || bytes.Equal(want.With, got.With)
}

// pair is a place in the one list, in the other, or in both; -1 for none.
type pair struct{ want, got int }

// align puts the two lists beside each other so that as many calls as possible
// meet, in order, and of those as many as possible are as expected.
func align(want, got []Expect) []pair {
	const met, exact = 1 << 16, 1
	best := make([][]int, len(want)+1) // of what begins at i and j
	for i := range best {
		best[i] = make([]int, len(got)+1)
	}
	worth := func(i, j int) int {
		switch {
		case matches(&want[i], &got[j]):
			return met + exact
		case pairs(&want[i], &got[j]):
			return met
		}
		return 0
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			best[i][j] = max(best[i+1][j], best[i][j+1])
			if w := worth(i, j); w > 0 {
				best[i][j] = max(best[i][j], w+best[i+1][j+1])
			}
		}
	}
	var out []pair
	i, j := 0, 0
	for i < len(want) && j < len(got) {
		w := worth(i, j)
		switch {
		case w > 0 && best[i][j] == w+best[i+1][j+1]:
			out = append(out, pair{i, j})
			i, j = i+1, j+1
		case best[i][j] == best[i+1][j]:
			out = append(out, pair{i, -1})
			i++
		default:
			out = append(out, pair{-1, j})
			j++
		}
	}
	for ; i < len(want); i++ {
		out = append(out, pair{i, -1})
	}
	for ; j < len(got); j++ {
		out = append(out, pair{-1, j})
	}
	return out
}

// differences describes what is not as expected; see Failure.Diff.
func (m *moment) differences(want []Expect) []string {
	var out []string
	because := func(lines ...string) {
		for _, l := range lines {
			out = append(out, "    "+l)
		}
	}
	for _, p := range align(want, m.got) {
		switch {
		case p.got < 0:
			w := &want[p.want]
			out = append(out, "- "+w.flow())
			because(m.whyMissing(w))
		case p.want < 0:
			g := &m.got[p.got]
			out = append(out, "+ "+g.brief().flow())
			because(m.whyCalled(g)...)
		case matches(&want[p.want], &m.got[p.got]):
			out = append(out, "  "+m.got[p.got].brief().flow())
		default:
			w, g := &want[p.want], &m.got[p.got]
			head := Expect{Rule: g.Rule, Action: g.Action}
			out = append(out, "~ "+head.flow())
			because(unlike(w, g)...)
		}
	}
	return out
}

// unlike says where a call of the right rule and step is not as expected.
func unlike(w, g *Expect) []string {
	switch {
	case w.Error != "" && g.Error != "":
		return []string{"error: want text with " + strconv.Quote(w.Error) + ", got " + strconv.Quote(g.Error)}
	case w.Error != "":
		return []string{"error: want text with " + strconv.Quote(w.Error) + ", got a call with " + string(g.With)}
	case g.Error != "":
		return []string{"want a call, got the error " + strconv.Quote(g.Error)}
	}
	var out []string
	for _, d := range replay.Differences("with", w.With, g.With) {
		out = append(out, fmt.Sprintf("%s: want %s, got %s", d.Path, orNothing(d.Old), orNothing(d.New)))
	}
	return out
}

func orNothing(text json.RawMessage) string {
	if text == nil {
		return "nothing"
	}
	return string(text)
}

// whyMissing says why an expected call was not made.
func (m *moment) whyMissing(w *Expect) string {
	if m.dup > 0 {
		return fmt.Sprintf("duplicate: the event has the id %q of step %d", m.ev.ID(), m.dup)
	}
	if i := slices.IndexFunc(m.got, func(g Expect) bool { return pairs(w, &g) }); i >= 0 {
		n := 0
		for j := range m.got {
			if pairs(w, &m.got[j]) {
				n++
			}
		}
		return fmt.Sprintf("called %s, not here (calls stand in the order of the rules and of their do)", times(n))
	}
	i := slices.IndexFunc(m.outcomes, func(o replay.Outcome) bool { return o.Rule.Name == w.Rule })
	if i < 0 {
		if x := m.explanation(w.Rule); x != nil {
			return x.Verdict + ": " + x.Reason
		}
		return "there is no such rule"
	}
	o := &m.outcomes[i]
	if o.Verdict == replay.Throttled {
		end := o.Until.Sub(epoch)
		return fmt.Sprintf("throttled: once %s: fired at %s, quiet until at %s",
			shortDuration(o.Rule.Once), shortDuration(end-o.Rule.Once), shortDuration(end))
	}
	if o.Reason == "" {
		return string(o.Verdict) + ", without such a call"
	}
	return string(o.Verdict) + ": " + o.Reason
}

func (m *moment) explanation(rule string) *rules.Explanation {
	for _, e := range m.rs.ExplainSome(m.ev, func(r *rules.Rule) bool { return r.Name == rule }) {
		return &e
	}
	return nil
}

// whyCalled says where a call comes from that nobody expected.
func (m *moment) whyCalled(g *Expect) []string {
	for i := range m.outcomes {
		r := m.outcomes[i].Rule
		if r.Name != g.Rule {
			continue
		}
		text := fmt.Sprintf("by the rule at %s:%d", r.File, r.Line)
		if r.Once > 0 && g.Action != "" {
			text += fmt.Sprintf(": no window of once %s was open", shortDuration(r.Once))
		}
		return []string{text}
	}
	return nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return strconv.Itoa(n) + " times"
}

// shortDuration is 10m instead of 10m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
