package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// findTools builds what rounds run and finds out what the machine permits.
func findTools(ctx context.Context, binary, dir string) (*tools, error) {
	t := &tools{pointsman: binary}
	if binary == "" {
		t.pointsman = filepath.Join(dir, "pointsman")
		if err := build(ctx, t.pointsman, "github.com/pointsman/pointsman/cmd/pointsman"); err != nil {
			return nil, err
		}
	}
	var err error
	if t.pointsman, err = filepath.Abs(t.pointsman); err != nil {
		return nil, err
	}
	if t.self, err = os.Executable(); err != nil {
		return nil, err
	}
	f, err := os.Open(t.self)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	t.digest = hex.EncodeToString(h.Sum(nil))
	probe := filepath.Join(dir, "probe")
	if err := os.Mkdir(probe, 0o700); err != nil {
		return nil, err
	}
	t.mount, t.strace = mayMount(probe), mayTrace(ctx)
	return t, os.Remove(probe)
}

// build builds a command in which the crash points are real.
func build(ctx context.Context, to, pkg string) error {
	if out, err := exec.CommandContext(ctx, "go", "build", "-tags", "torture", "-o", to, pkg).CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// faultRow is what the report says of one fault.
type faultRow struct {
	Fault      string        `json:"fault"`
	Rounds     int           `json:"rounds"`
	Violations int           `json:"violations"`
	P50        time.Duration `json:"recovery_p50_ns"`
	Max        time.Duration `json:"recovery_max_ns"`
	took       []time.Duration
}

// report sums rounds up.
type report struct {
	Seed       uint64         `json:"seed"`
	Evidence   string         `json:"evidence,omitempty"`
	Begun      time.Time      `json:"begun"`
	Took       time.Duration  `json:"took_ns"`
	Rounds     int            `json:"rounds"`
	Accepted   int            `json:"accepted"`
	Deliveries int            `json:"deliveries"`
	Repeated   int            `json:"repeated_attempts"`
	Held       int            `json:"held"`
	Forgotten  int            `json:"forgotten"`
	Counts     map[string]int `json:"violation_counts"`
	Faults     []*faultRow    `json:"faults"`
	// Points is at how many points a process was ended that used a store alone,
	// PointsHit counts the ends of whole routers by point.
	Points     int            `json:"points"`
	PointsHit  map[string]int `json:"points_hit"`
	Violations []string       `json:"violations"`
	Results    []*result      `json:"results"`
}

func newReport(seed uint64, dir string) *report {
	return &report{Seed: seed, Evidence: dir, Begun: time.Now(), PointsHit: map[string]int{}, Counts: map[string]int{
		kindLost: 0, kindTwice: 0, kindOverlap: 0, kindEffect: 0, kindOnce: 0, kindHold: 0, kindFault: 0, kindPoint: 0,
	}}
}

func (rep *report) row(fault, store string) *faultRow {
	name := fault + " (" + store + ")"
	for _, f := range rep.Faults {
		if f.Fault == name {
			return f
		}
	}
	rep.Faults = append(rep.Faults, &faultRow{Fault: name})
	return rep.Faults[len(rep.Faults)-1]
}

func (rep *report) add(res *result) {
	rep.Results = append(rep.Results, res)
	rep.Rounds++
	rep.Accepted += res.Accepted
	rep.Deliveries += res.Deliveries
	rep.Repeated += res.Repeated
	rep.Held += res.Held
	rep.Forgotten += res.Forgotten
	for _, f := range res.Faults {
		row := rep.row(f, res.Store)
		row.Rounds++
		row.Violations += len(res.Violations)
	}
	for _, r := range res.Recoveries {
		row := rep.row(r.Fault, res.Store)
		row.took = append(row.took, r.Took)
	}
	for _, p := range res.Points {
		if p != "" {
			rep.PointsHit[res.Store+" "+p]++
		}
	}
	for _, v := range res.Violations {
		rep.Counts[v.Kind]++
		rep.Violations = append(rep.Violations, fmt.Sprintf("round %d: %s: %s", res.Number, v.Kind, v.Text))
	}
}

// finish makes what needs all rounds.
func (rep *report) finish() {
	rep.Took = time.Since(rep.Begun)
	slices.SortFunc(rep.Faults, func(a, b *faultRow) int { return strings.Compare(a.Fault, b.Fault) })
	for _, f := range rep.Faults {
		if len(f.took) > 0 {
			slices.Sort(f.took)
			f.P50, f.Max = f.took[len(f.took)/2], f.took[len(f.took)-1]
		}
	}
}

func (rep *report) writeJSON(path string) error {
	text, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

// line is what is said of a round while others follow.
func (res *result) line() string {
	word := "ok"
	if n := len(res.Violations); n > 0 {
		word = fmt.Sprintf("%d VIOLATIONS: %s: %s", n, res.Violations[0].Kind, res.Violations[0].Text)
	}
	took := ""
	for _, r := range res.Recoveries {
		took += " " + r.Took.Round(time.Millisecond).String()
	}
	return fmt.Sprintf("round %3d %-6s %-28s %4d events %5.1fs, recovered in%s: %s %s", res.Number, res.Store, strings.Join(res.Faults, "+"),
		res.Accepted, res.Took.Seconds(), took, word, strings.Join(res.Notes, "; "))
}

func (rep *report) print(out io.Writer) {
	fmt.Fprintf(out, "%d rounds in %s, seed %d: %d events accepted, %d deliveries, %d attempts repeated, %d held for a person",
		rep.Rounds, rep.Took.Round(time.Second), rep.Seed, rep.Accepted, rep.Deliveries, rep.Repeated, rep.Held)
	if rep.Forgotten > 0 {
		fmt.Fprintf(out, ", %d gone with a store that was emptied from outside", rep.Forgotten)
	}
	fmt.Fprintln(out)
	for _, kind := range slices.Sorted(maps.Keys(rep.Counts)) {
		fmt.Fprintf(out, "  %s: %d", kind, rep.Counts[kind])
	}
	fmt.Fprint(out, "\n\n")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\trounds\tviolations\trecovery p50\tmax")
	for _, f := range rep.Faults {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", f.Fault, f.Rounds, f.Violations, f.P50.Round(time.Millisecond), f.Max.Round(time.Millisecond))
	}
	_ = w.Flush()
	fmt.Fprintf(out, "\nended at crash points: a store alone at %d, a whole router at %d\n", rep.Points, len(rep.PointsHit))
	for _, v := range rep.Violations {
		fmt.Fprintln(out, "VIOLATION", v)
	}
	if rep.Evidence != "" {
		fmt.Fprintln(out, "evidence:", rep.Evidence)
	}
}
