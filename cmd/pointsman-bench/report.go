package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// measurement is what one round showed.
type measurement struct {
	events int
	// sending ends with the last answer, whole with the last settled delivery.
	sending, whole time.Duration
	// answers are the times from POST to 202, results from POST to the receipt
	// in the plugin; the latter has no values when nobody noted them.
	answers, results quantile
	// CPU used by the server, what it started, and the load generator.
	server, plugins, generator time.Duration
}

func (m measurement) accepted() float64 { return float64(m.events) / m.sending.Seconds() }
func (m measurement) settled() float64  { return float64(m.events) / m.whole.Seconds() }

// each is CPU time per event in µs.
func (m measurement) each(d time.Duration) float64 {
	return float64(d.Nanoseconds()) / 1e3 / float64(m.events)
}

type quantile struct{ p50, p99 time.Duration }

// quantiles sorts its argument.
func quantiles(all []time.Duration) quantile {
	if len(all) == 0 {
		return quantile{}
	}
	slices.Sort(all)
	return quantile{all[len(all)/2], all[len(all)*99/100]}
}

func (q quantile) String() string {
	if q.p99 == 0 {
		return "not measured"
	}
	return fmt.Sprintf("p50 %s  p99 %s", short(q.p50), short(q.p99))
}

func short(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }

// median of an odd number of values, or the upper middle.
func median[T cmp.Ordered](values []T) T {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

func over[T cmp.Ordered](pairs []pair, f func(pair) T) T {
	values := make([]T, len(pairs))
	for i, p := range pairs {
		values[i] = f(p)
	}
	return median(values)
}

// printPairs prints medians; the ratio is the median of the rounds' ratios.
func printPairs(title string, pairs []pair) {
	ratios := make([]float64, len(pairs))
	for i, p := range pairs {
		ratios[i] = p.router.settled() / p.bare.settled()
	}
	fmt.Printf("\n%s\n", title)
	fmt.Printf("  bare handler   %8.0f events/s   CPU per event: server %.0f µs, generator %.0f µs\n",
		over(pairs, func(p pair) float64 { return p.bare.settled() }),
		over(pairs, func(p pair) float64 { return p.bare.each(p.bare.server) }),
		over(pairs, func(p pair) float64 { return p.bare.each(p.bare.generator) }))
	fmt.Printf("  accepted       %8.0f events/s   CPU per event: serve %.0f µs, plugin %.0f µs, generator %.0f µs\n",
		over(pairs, func(p pair) float64 { return p.router.accepted() }),
		over(pairs, func(p pair) float64 { return p.router.each(p.router.server) }),
		over(pairs, func(p pair) float64 { return p.router.each(p.router.plugins) }),
		over(pairs, func(p pair) float64 { return p.router.each(p.router.generator) }))
	fmt.Printf("  settled        %8.0f events/s   first POST to last settled delivery\n",
		over(pairs, func(p pair) float64 { return p.router.settled() }))
	fmt.Printf("  RATIO settled/bare %.3f   (%.3f to %.3f)\n", median(ratios), slices.Min(ratios), slices.Max(ratios))
	fmt.Printf("  POST to 202      %s   (bare: %s)\n", middle(pairs, func(p pair) quantile { return p.router.answers }),
		middle(pairs, func(p pair) quantile { return p.bare.answers }))
	fmt.Printf("  POST to plugin   %s\n", middle(pairs, func(p pair) quantile { return p.router.results }))
}

func middle(pairs []pair, f func(pair) quantile) quantile {
	return quantile{
		over(pairs, func(p pair) time.Duration { return f(p).p50 }),
		over(pairs, func(p pair) time.Duration { return f(p).p99 }),
	}
}

func printLatency(title string, m measurement) {
	fmt.Printf("\n%s\n  POST to 202      %s\n  POST to plugin   %s\n  CPU per event: serve %.0f µs, plugin %.0f µs, generator %.0f µs\n",
		title, m.answers, m.results, m.each(m.server), m.each(m.plugins), m.each(m.generator))
}
