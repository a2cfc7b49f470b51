package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// measurement is what one round showed.
type measurement struct {
	events int
	// sending ends with the last answer, whole with the last settled delivery.
	sending, whole time.Duration
	// answers are the times from POST to 202, results from POST to the receipt
	// in the plugin or handler; the latter has no values when nobody noted them.
	answers, results quantile
	cpu              cpu
}

func (m measurement) accepted() float64 { return float64(m.events) / m.sending.Seconds() }
func (m measurement) settled() float64  { return float64(m.events) / m.whole.Seconds() }

// each is CPU time per event in µs.
func (m measurement) each(d time.Duration) float64 {
	return float64(d.Nanoseconds()) / 1e3 / float64(m.events)
}

// quantile is written as milliseconds.
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
		return "-"
	}
	return fmt.Sprintf("%.2f / %.2f", millis(q.p50), millis(q.p99))
}

// MarshalJSON writes milliseconds.
func (q quantile) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]float64{"p50_ms": millis(q.p50), "p99_ms": millis(q.p99)})
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// median of an odd number of values, or the upper middle.
func median[T cmp.Ordered](values []T) T {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

// report is what -json writes. Events per second and times are medians over the
// rounds, each for itself; a ratio is the median of the rounds' ratios.
type report struct {
	Rounds     int                `json:"rounds"`
	Seconds    float64            `json:"seconds"`
	Conns      int                `json:"connections"`
	EventBytes int                `json:"event_bytes"`
	Action     string             `json:"action"`
	Sync       quantile           `json:"sync_64k"`
	Results    []result           `json:"results"`
	Recovery   map[string]float64 `json:"plugin_killed_to_next_delivery_ms"`
}

// result is one load on one store.
type result struct {
	Store      string              `json:"store"`
	Load       string              `json:"load"`
	Batch      int                 `json:"batch"`
	Rate       int                 `json:"rate"`
	Contenders map[string]numbers  `json:"contenders"`
	Ratios     map[string]ratioSet `json:"ratios"`
}

// numbers are the medians of one contender.
type numbers struct {
	Accepted float64            `json:"accepted_per_second"`
	Settled  float64            `json:"settled_per_second"`
	Answer   quantile           `json:"post_to_answer"`
	Effect   quantile           `json:"post_to_effect"`
	CPU      map[string]float64 `json:"cpu_us_per_event"`
}

// ratioSet is pointsman's events settled per second over those of another.
type ratioSet struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func newReport(o options) *report {
	return &report{
		Rounds: o.rounds, Seconds: o.seconds, Conns: o.conns, EventBytes: eventSize(), Action: o.action, Recovery: map[string]float64{},
	}
}

func (r *report) printHead(w io.Writer) {
	fmt.Fprintf(w, "%d rounds of %gs in turn, %d connections, events of %d bytes, action %s\n", r.Rounds, r.Seconds, r.Conns, r.EventBytes, r.Action)
	fmt.Fprintf(w, "a sync of 64 KiB here takes %s ms; times are p50 / p99\n", r.Sync)
}

// contenders are in the order of the table.
func contenders() []string { return []string{"pointsman", "bare", "asynq"} }

// add takes the rounds of a load into the report and prints its table.
func (r *report) add(w io.Writer, store, name string, l load, rounds []round) {
	res := result{Store: store, Load: name, Batch: l.batch, Rate: l.rate, Contenders: map[string]numbers{}, Ratios: map[string]ratioSet{}}
	fmt.Fprintf(w, "\nstore %s, %s\n%-10s %10s %10s %18s %18s   %s\n", store, name,
		"", "accepted/s", "settled/s", "to answer, ms", "to effect, ms", "CPU µs/event: server plugin redis generator")
	for _, c := range contenders() {
		if _, ok := rounds[0][c]; !ok {
			continue
		}
		n := numbersOf(rounds, c)
		res.Contenders[c] = n
		fmt.Fprintf(w, "%-10s %10.0f %10.0f %18s %18s   %20.0f %6.0f %5.0f %9.0f\n", c, n.Accepted, n.Settled, n.Answer, n.Effect,
			n.CPU["server"], n.CPU["plugin"], n.CPU["redis"], n.CPU["generator"])
		if c == "pointsman" || l.rate > 0 {
			continue
		}
		ratios := over(rounds, func(x round) float64 { return x["pointsman"].settled() / x[c].settled() })
		res.Ratios[c] = ratioSet{median(ratios), slices.Min(ratios), slices.Max(ratios)}
	}
	for _, c := range contenders() {
		if q, ok := res.Ratios[c]; ok {
			fmt.Fprintf(w, "RATIO pointsman/%-6s %.3f   (%.3f to %.3f)\n", c, q.Median, q.Min, q.Max)
		}
	}
	r.Results = append(r.Results, res)
}

func numbersOf(rounds []round, c string) numbers {
	value := func(f func(measurement) float64) float64 {
		return median(over(rounds, func(x round) float64 { return f(x[c]) }))
	}
	times := func(f func(measurement) quantile) quantile {
		return quantile{
			median(over(rounds, func(x round) time.Duration { return f(x[c]).p50 })),
			median(over(rounds, func(x round) time.Duration { return f(x[c]).p99 })),
		}
	}
	return numbers{
		Accepted: value(measurement.accepted),
		Settled:  value(measurement.settled),
		Answer:   times(func(m measurement) quantile { return m.answers }),
		Effect:   times(func(m measurement) quantile { return m.results }),
		CPU: map[string]float64{
			"server":    value(func(m measurement) float64 { return m.each(m.cpu.server) }),
			"plugin":    value(func(m measurement) float64 { return m.each(m.cpu.plugins) }),
			"redis":     value(func(m measurement) float64 { return m.each(m.cpu.redis) }),
			"generator": value(func(m measurement) float64 { return m.each(m.cpu.generator) }),
		},
	}
}

func over[T any](rounds []round, f func(round) T) []T {
	values := make([]T, len(rounds))
	for i, x := range rounds {
		values[i] = f(x)
	}
	return values
}

func (r *report) addRecovery(w io.Writer, store string, took time.Duration) {
	r.Recovery[store] = millis(took)
	fmt.Fprintf(w, "\nstore %s, plugin killed to next delivery: %.1f ms\n", store, millis(took))
}

// write replaces the file.
func (r *report) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
