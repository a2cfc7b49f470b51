package main

import (
	_ "embed"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/router/store/crashpoint"
)

// pointsText lists every step in which a store writes: the store and the step's
// name. TestPoints compares it with the sources of the stores.
//
//go:embed points.txt
var pointsText string

// point is one side of a step.
type point struct {
	store, step string
	moment      crashpoint.Moment
	// rare ones come once in a start, or at an operator's order.
	rare bool
}

// String is the point as POINTSMAN_CRASH names it.
func (p point) String() string { return p.step + "|" + string(p.moment) }

// points lists both sides of every step of a store.
func points(store string) []point {
	often := []string{
		"BEGIN IMMEDIATE", "COMMIT", "INSERT INTO events", "INSERT INTO event_ids", "INSERT INTO deliveries", "INSERT INTO dedup", "INSERT INTO states",
		"INSERT OR REPLACE INTO attempts", "INSERT INTO counts", "INSERT INTO revision_refs", "UPDATE deliveries SET state = ?, reason",
		"commit", "load", "claim", "settle",
	}
	var all []point
	for l := range strings.Lines(pointsText) {
		of, step, _ := strings.Cut(strings.TrimSpace(l), " ")
		if of != store {
			continue
		}
		rare := !slices.ContainsFunc(often, func(o string) bool { return strings.HasPrefix(step, o) })
		for _, m := range []crashpoint.Moment{crashpoint.Before, crashpoint.After} {
			all = append(all, point{of, step, m, rare})
		}
	}
	return all
}

// pointsPerRound is how many points a round with the fault crash-point takes.
const pointsPerRound = 4

// planner makes plans from a seed.
type planner struct {
	seed   uint64
	rng    *rand.Rand
	choice []choice
	left   []choice
	points map[string][]point
	number int
}

// choice is a fault on a store.
type choice struct {
	fault *fault
	store string
}

func newPlanner(seed uint64, choices []choice) *planner {
	return &planner{seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), choice: choices, points: map[string][]point{}}
}

// next plans a round. Every choice comes once before any comes again; half of
// the rounds have a light fault besides.
func (pl *planner) next() plan {
	if len(pl.left) == 0 {
		pl.left = slices.Clone(pl.choice)
		pl.rng.Shuffle(len(pl.left), func(i, j int) { pl.left[i], pl.left[j] = pl.left[j], pl.left[i] })
	}
	c := pl.left[0]
	pl.left = pl.left[1:]
	pl.number++
	p := plan{number: pl.number, store: c.store, faults: []*fault{c.fault}, seed: pl.seed}
	if also := pl.choice[pl.rng.IntN(len(pl.choice))]; pl.rng.IntN(2) == 0 && also.fault.light && also.store == c.store {
		p.faults = append(p.faults, also.fault)
	}
	for range pointsPerRound {
		p.points = append(p.points, pl.point(c.store))
	}
	return p
}

// point takes the points of a store in turn.
func (pl *planner) point(store string) point {
	if len(pl.points[store]) == 0 {
		all := points(store)
		pl.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		pl.points[store] = all
	}
	p := pl.points[store][0]
	pl.points[store] = pl.points[store][1:]
	return p
}
