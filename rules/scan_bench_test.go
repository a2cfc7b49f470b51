package rules_test

import (
	"fmt"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/scan"
)

// BenchmarkText tells what the way from JSON text to matches costs on events of
// 1.2 KB: scan, which checks the text; parse, to an event; match, of an event that
// is parsed; whole, from text to matches; digest and value besides; and valid,
// jsontext's check of the same text.
func BenchmarkText(b *testing.B) {
	for _, kind := range kinds {
		if kind.name != "selective" && kind.name != "mixed" {
			continue
		}
		for _, n := range []int{10, 1000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) {
				rs := loadRules(b, ruleSet(kind.when, n))
				texts, events := benchEvents(b, n)
				docs := make([]*scan.Doc, len(events))
				for i, ev := range events {
					docs[i] = ev.Scanned()
				}
				var s scan.Scanner
				k := 0
				next := func() int { k = (k + 1) % len(texts); return k }
				parse := func() *rules.Event {
					ev, err := rules.ParseEvent(texts[next()], rules.Limits{})
					if err != nil {
						b.Fatal(err)
					}
					return ev
				}
				for _, step := range []struct {
					name string
					run  func()
				}{
					{"valid", func() {
						if !jsontext.Value(texts[next()]).IsValid() {
							b.Fatal("not valid")
						}
					}},
					{"scan", func() {
						if _, err := s.Scan(texts[next()], 0, 64); err != nil {
							b.Fatal(err)
						}
					}},
					{"parse", func() { parse() }},
					{"match", func() { rs.MatchScanned(docs[next()]) }},
					{"whole", func() { rs.Match(parse()) }},
					{"digest", func() { parse().Digest() }},
					{"value", func() { parse().Value() }},
				} {
					b.Run(step.name, func(b *testing.B) { perOp(b, step.run) })
				}
			})
		}
	}
}
