package rules_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/expression"
	"github.com/pointsman/pointsman/rules/index"
)

// kinds are rule sets: each makes the condition of the i-th of n rules. Sites and
// names grow with n, so that an event concerns about one rule, where not said
// otherwise.
var kinds = []struct {
	name string
	when func(i, n int) string
}{
	{"selective", func(i, n int) string {
		begin := fmt.Sprintf(`event.type == "t%d"`, of(i, 1, 40))
		site := of(i, 2, sites(n))
		switch k := of(i, 9, 20); {
		case k < 7:
			return begin + fmt.Sprintf(` and event.data.site == "s%d" and event.data.role == "r%d"`, site, of(i, 3, 8))
		case k < 11:
			return begin + fmt.Sprintf(` and event.data.site in ["s%d", "s%d"] and event.data.status == "active" and event.data.tenant == "c%d"`,
				site, site+1, of(i, 4, 20))
		case k < 13:
			return begin + fmt.Sprintf(` and event.data.site == "s%d" and event.data.name startsWith "d%d"`, site, of(i, 5, names(n)))
		case k < 16:
			return begin + fmt.Sprintf(` and event.data.site == "s%d" and event.data.cpu == %d`, site, of(i, 6, 100))
		}
		return begin + fmt.Sprintf(` and event.data.name == "d%d"`, of(i, 5, names(n)))
	}},
	{"one-type", func(i, _ int) string {
		return fmt.Sprintf(`event.type == "t1" and event.data.name == "d%d"`, i)
	}},
	{"combination", func(i, _ int) string { // none of the four is selective
		return fmt.Sprintf(`event.type == "t%d" and event.data.site == "s%d" and event.data.role == "r%d" and event.data.tenant == "c%d"`,
			of(i, 1, 20), of(i, 2, 20), of(i, 3, 8), of(i, 4, 20))
	}},
	{"field-sets", func(i, _ int) string { // a type and three of 40 fields, 30 of which no event has
		r := rand.New(rand.NewPCG(uint64(i), 3))
		f := r.Perm(40)[:3]
		return fmt.Sprintf(`event.type == "t%d" and event.data.f%d == "v%d" and event.data.f%d == "v%d" and event.data.f%d == "v%d"`,
			i%40, f[0], r.IntN(50), f[1], r.IntN(50), f[2], r.IntN(50))
	}},
	{"field-each", func(i, _ int) string { return fmt.Sprintf(`event.data.g%d == "v"`, i) }},
	{"mixed", func(i, n int) string {
		begin := fmt.Sprintf(`event.type == "t%d" and event.data.site == "s%d"`, of(i, 1, 40), of(i, 2, sites(n)))
		switch k := of(i, 9, 20); {
		case k < 10:
			return begin + fmt.Sprintf(` and event.data.name == "d%d"`, of(i, 5, names(n)))
		case k < 14:
			return begin + fmt.Sprintf(` and event.data.cpu > %d and event.data.cpu <= %d`, i%90, i%90+10)
		case k < 17:
			return begin + ` and event.data.prechange.status != event.data.postchange.status`
		case k < 19:
			return begin + fmt.Sprintf(` and event.data.name matches "^d%d[0-9]x"`, i%names(n))
		}
		return begin + fmt.Sprintf(` and any(event.data.interfaces, .name == "eth%d")`, i%9)
	}},
	{"numbers", func(i, n int) string { return fmt.Sprintf(`event.data.load > %d`, 1_000_000-i*(1_000_000/n)) }},
	{"suffix", func(i, _ int) string { return fmt.Sprintf(`event.data.fqdn endsWith ".d%d.example.net"`, i) }},
	{"contains", func(i, _ int) string { return fmt.Sprintf(`event.data.text contains "unit %d failed"`, i) }},
	{"tags", func(i, _ int) string { return fmt.Sprintf(`"tag%d" in event.data.tags`, i) }},
	{"regex-literal", func(i, _ int) string {
		return fmt.Sprintf(`event.data.text matches "(unit|part) %d failed( again)?$"`, i)
	}},
	{"regex-bare", func(i, _ int) string { return fmt.Sprintf(`event.data.name matches "^[a-c]%d?[0-9]+x[xyz]$"`, i%1000) }},
	{"unindexable", func(i, _ int) string { return fmt.Sprintf(`len(event.data.interfaces) > %d`, 5+i) }},
}

// of is a value below m that depends on i and looks random.
func of(i, what, m int) int {
	x := uint64(i*16+what)*0x9e3779b97f4a7c15 + 1
	x = (x ^ x>>29) * 0xbf58476d1ce4e5b9
	return int((x ^ x>>32) % uint64(m))
}

func sites(n int) int { return max(8, n/50) }
func names(n int) int { return max(10, n/2) }

func ruleSet(when func(i, n int) string, n int) string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: r%d, when: %s, do: [{action: log}]}\n", i, strconv.Quote(when(i, n)))
	}
	return b.String()
}

// benchEvents are 256 events of about 1.2 KB.
func benchEvents(b *testing.B, n int) ([][]byte, []*rules.Event) {
	b.Helper()
	texts, events := make([][]byte, 256), make([]*rules.Event, 256)
	for k := range texts {
		i := k * max(1, n/256) % n
		var fields strings.Builder
		for f := range 10 {
			fmt.Fprintf(&fields, `"f%d":"v%d",`, f, (k+f)%50)
		}
		texts[k] = fmt.Appendf(nil, `{"specversion":"1.0","id":"%d","source":"/netbox","type":"t%d","time":"2026-11-23T10:00:00Z","data":{%s`+
			`"site":"s%d","role":"r%d","status":"active","tenant":"c%d","name":"d%d","cpu":%d,"load":%d,"fqdn":"sw%d.d%d.example.net",`+
			`"text":"Nov 23 10:00:00 host daemon[77]: unit %d failed with result exit-code, see the journal","tags":["core","tag%d","x"],`+
			`"prechange":{"status":"planned","tags":[],"custom":{"owner":"ops","rack":"r12"}},"postchange":{"status":"active","tags":["a"],"custom":{"owner":"ops","rack":"r12"}},`+
			`"interfaces":[{"name":"eth0","speed":10000,"up":true,"mac":"00:53:00:00:00:01"},{"name":"eth1","speed":10000,"up":false,"mac":"00:53:00:00:00:02"},`+
			`{"name":"eth2","speed":1000,"up":true,"mac":"00:53:00:00:00:03"}],"note":"caf\u00e9 \u2013 second floor, behind the printer; call before entering",`+
			`"url":"https://netbox.example.net/api/dcim/devices/%d/","display":"switch %d in the hall","serial":"XYZ%09d"}}`,
			k, of(i, 1, 40), fields.String(), of(i, 2, sites(n)), of(i, 3, 8), of(i, 4, 20), of(i, 5, names(n)), of(i, 6, 100), 10, k, i, i, i, i, k, k)
		ev, err := rules.ParseEvent(texts[k], rules.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		ev.Value()
		events[k] = ev
	}
	return texts, events
}

// BenchmarkManyRules compares, on events of 1.2 KB: match, of an event that is parsed
// and decoded; json, from the JSON text; each, which tries every rule of the
// decoded event, up to 10,000 rules; valid, jsontext's check of the same text.
// That match and each find the same is checked before.
func BenchmarkManyRules(b *testing.B) {
	for _, kind := range kinds {
		for _, n := range []int{10, 1000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) {
				rs := loadRules(b, ruleSet(kind.when, n))
				texts, events := benchEvents(b, n)
				for i := 0; i < len(events); i += max(1, n/500) {
					if diff := cmp.Diff(outcomes(rs.MatchEach(events[i].Value())), outcomes(rs.Match(events[i]))); diff != "" {
						b.Fatal(diff)
					}
				}
				contenders(b, rs, texts, events, n)
			})
		}
	}
}

func contenders(b *testing.B, rs *rules.Ruleset, texts [][]byte, events []*rules.Event, n int) {
	k, found := 0, 0
	next := func() int { k = (k + 1) % len(texts); return k }
	b.Run("match", func(b *testing.B) {
		found = 0
		perOp(b, func() { found += len(rs.Match(events[next()])) })
		b.ReportMetric(float64(found)/float64(b.N), "matches/op")
	})
	b.Run("json", func(b *testing.B) {
		perOp(b, func() {
			ev, err := rules.ParseEvent(texts[next()], rules.Limits{})
			if err != nil {
				b.Fatal(err)
			}
			rs.Match(ev)
		})
	})
	if n <= 10_000 {
		b.Run("each", func(b *testing.B) { perOp(b, func() { rs.MatchEach(events[next()].Value()) }) })
	}
	b.Run("valid", func(b *testing.B) {
		perOp(b, func() {
			if !jsontext.Value(texts[next()]).IsValid() {
				b.Fatal("not valid")
			}
		})
	})
}

// BenchmarkReload matches an event of 1,000 rules, alone and while a set of 10,000
// rules is loaded over and over: p50-ns and p99-ns are of the time of day, for the
// latter both share the processors.
func BenchmarkReload(b *testing.B) {
	rs := loadRules(b, ruleSet(kinds[0].when, 1000))
	_, events := benchEvents(b, 1000)
	measure := func(b *testing.B) {
		took := make([]time.Duration, b.N)
		for i := range b.N {
			begun := time.Now()
			rs.Match(events[i%len(events)])
			took[i] = time.Since(begun)
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
		b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
	}
	b.Run("alone", measure)
	b.Run("loading", func(b *testing.B) {
		file := rules.File{Name: "r.yaml", Data: []byte(ruleSet(kinds[0].when, 10_000))}
		var stop atomic.Bool
		var loader sync.WaitGroup
		loader.Go(func() {
			for !stop.Load() {
				if _, err := rules.LoadFiles([]rules.File{file}, rules.Options{}); err != nil {
					b.Error(err)
				}
			}
		})
		measure(b)
		stop.Store(true)
		loader.Wait()
	})
}

// perOp runs f and reports the processor time of one run, which other work on
// the machine changes less than the time of day.
func perOp(b *testing.B, f func()) {
	b.Helper()
	b.ReportAllocs()
	begun := processorTime(b)
	for range b.N {
		f()
	}
	b.ReportMetric(float64(processorTime(b)-begun)/float64(b.N), "cpu-ns/op")
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIndex tells of 100,000 rules how long it takes to load their text and,
// as a part of that, to index conditions that are parsed, and what the index
// keeps.
func BenchmarkIndex(b *testing.B) {
	const n = 100_000
	for _, kind := range kinds {
		if !slices.Contains([]string{"selective", "mixed", "field-sets", "field-each"}, kind.name) {
			continue
		}
		b.Run(kind.name, func(b *testing.B) {
			text := ruleSet(kind.when, n)
			for range b.N {
				begun, used := time.Now(), processorTime(b)
				loadRules(b, text)
				b.ReportMetric(time.Since(begun).Seconds(), "load-s")
				b.ReportMetric((processorTime(b) - used).Seconds(), "load-cpu-s")
				c, asks := expression.NewCompiler("event"), make([]*expression.Conditions, n)
				for i := range asks {
					var err error
					if asks[i], err = expression.ConditionsOf(kind.when(i, n), "event"); err != nil {
						b.Fatal(err)
					}
				}
				begun, used = time.Now(), processorTime(b)
				builder := index.NewBuilder(c)
				for i := range asks {
					clauses, ok := asks[i].WhenTrueOrFailed().Clauses()
					builder.Add(uint32(i), clauses, ok)
				}
				ix := builder.Build()
				b.ReportMetric(time.Since(begun).Seconds(), "index-s")
				b.ReportMetric((processorTime(b) - used).Seconds(), "index-cpu-s")
				with := heap()
				runtime.KeepAlive(ix)
				b.ReportMetric((with-heap())/1e6, "index-MB")
				runtime.KeepAlive(c)
			}
		})
	}
}

// heap is how many bytes are in use.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
