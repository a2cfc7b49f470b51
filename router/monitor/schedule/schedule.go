// Package schedule is the source that makes an event of every tick of a
// timetable.
//
// What it must remember is the nominal time of its last tick. That is written in
// one transaction with the tick's event, so any number of routers that share a
// store tick once, without one of them leading: whoever is late finds the state
// changed. A tick's id is made of its nominal time, so it is known again as well.
package schedule

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/config/timetable"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

const (
	// EventType is the type of the events.
	EventType = "pointsman.schedule.tick"
	// stateKey is where the last tick is.
	stateKey     = "last"
	stateVersion = 1
	// look is how often the clock is looked at while nothing is due: so late is a
	// change of it noticed.
	look = 30 * time.Second
	// farBack is how much the clock may be set back before the schedule begins
	// anew; after less it waits until its last tick is passed again.
	farBack = 3 * time.Hour
	// lateLimit bounds how late a tick may be with catch_up none.
	lateLimit = time.Minute
	// mostOwed is how many missed ticks catch_up all makes, the newest ones.
	mostOwed = 1000
	// firstRetry and lastRetry bound the pause before a tick that was not accepted
	// is tried again.
	firstRetry = 250 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// Config configures New. Name and Schedule are required.
type Config struct {
	// Name is the configured source's.
	Name     string
	Schedule *config.Schedule
	// Log defaults to slog.Default, Now to time.Now.
	Log *slog.Logger
	Now func() time.Time
}

// Source is one schedule. It is immutable.
type Source struct {
	Config
	table *timetable.Timetable
	// sum tells timetables apart: what was owed by another one is not owed.
	sum string
}

// New compiles a schedule.
func New(c Config) (*Source, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	table, err := timetable.New(c.Schedule.Times)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(c.Schedule.Times)
	if err != nil {
		return nil, fmt.Errorf("timetable: %w", err)
	}
	sum := sha256.Sum256(text)
	return &Source{Config: c, table: table, sum: hex.EncodeToString(sum[:8])}, nil
}

// position is the source's state.
type position struct {
	Version int `json:"v"`
	// Table is Source.sum.
	Table string `json:"table"`
	// From is the time after which ticks are owed: the last tick, or when the
	// timetable was first seen.
	From time.Time `json:"from"`
	// Last is the last tick; zero: none yet.
	Last time.Time `json:"last,omitzero"`
}

// tick is one that is to come, or due.
type tick struct {
	nominal, due time.Time
	// missed are ticks before it that are dropped.
	missed int
}

// Run implements router.Source.
func (s *Source) Run(ctx context.Context, accept router.AcceptFunc, state router.StateReader) error {
	for ctx.Err() == nil {
		err := s.follow(ctx, accept, state)
		if err != nil && !errors.Is(err, router.ErrStale) && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// follow reads the state and ticks until another has written it.
func (s *Source) follow(ctx context.Context, accept router.AcceptFunc, state router.StateReader) error {
	var pos position
	var version uint64
	err := s.retry(ctx, "reading the last tick", func() (err error) {
		pos, version, err = load(ctx, state)
		return err
	})
	if err != nil {
		return err
	}
	if version == 0 || pos.Table != s.sum { // owes nothing
		if version, err = s.begin(ctx, accept, &pos, version); err != nil {
			return err
		}
	}
	from, missed := pos.From, 0
	for {
		now := s.Now()
		if from.Sub(now) > farBack {
			s.Log.Warn("the clock was set back; the schedule begins anew", "source", s.Name, "last_tick", from, "now", now)
			if version, err = s.begin(ctx, accept, &pos, version); err != nil {
				return err
			}
			from, missed = pos.From, 0
		}
		t, ok := s.decide(&from, &missed, now)
		if !ok || t.due.After(now) {
			pause := look
			if ok {
				pause = min(look, t.due.Sub(now))
			}
			if !sleep(ctx, pause) {
				return ctx.Err()
			}
			continue
		}
		if version, err = s.fire(ctx, accept, t, version); err != nil {
			return err
		}
		pos.From, pos.Last = t.nominal, t.nominal
		from, missed = t.nominal, 0
	}
}

func load(ctx context.Context, state router.StateReader) (position, uint64, error) {
	states, err := state.Load(ctx, stateKey)
	if err != nil {
		return position{}, 0, err
	}
	var pos position
	if states[0].Version == 0 {
		return pos, 0, nil
	}
	if err := json.Unmarshal(states[0].Data, &pos); err != nil {
		return pos, 0, fmt.Errorf("the last tick is unreadable: %w", err)
	}
	if pos.Version != stateVersion {
		return pos, 0, fmt.Errorf("the last tick has form %d, this program reads form %d", pos.Version, stateVersion)
	}
	return pos, states[0].Version, nil
}

// begin makes now the time after which ticks are owed.
func (s *Source) begin(ctx context.Context, accept router.AcceptFunc, pos *position, read uint64) (version uint64, err error) {
	pos.From = s.Now().UTC()
	w, err := s.write(*pos, read)
	if err != nil {
		return 0, err
	}
	err = s.retry(ctx, "beginning", func() error {
		_, err := accept(ctx, nil, w)
		return err
	})
	return w.Version, err
}

func (s *Source) write(pos position, read uint64) (*store.StateWrite, error) {
	pos.Version, pos.Table = stateVersion, s.sum
	data, err := json.Marshal(pos)
	if err != nil {
		return nil, fmt.Errorf("the last tick: %w", err)
	}
	return &store.StateWrite{State: store.State{Key: stateKey, Data: data}, Read: read}, nil
}

// decide returns the tick to wait for or to make. from and missed go over the
// ticks that are dropped for it, so that they are counted once.
func (s *Source) decide(from *time.Time, missed *int, now time.Time) (tick, bool) {
	n, ok := s.table.Next(*from)
	drop := func(next time.Time, more bool) {
		*from = n
		*missed++
		n, ok = next, more
	}
	switch {
	case !ok:
	case s.Schedule.CatchUp == config.CatchUpAll:
		owed := 0
		for at := n; !at.After(now); owed++ {
			next, more := s.table.Next(at)
			if at = next; !more {
				owed++
				break
			}
		}
		for ; owed > mostOwed; owed-- {
			drop(s.table.Next(n))
		}
	case s.Schedule.CatchUp == config.CatchUpLast:
		for {
			next, more := s.table.Next(n)
			if !more || next.After(now) {
				break
			}
			drop(next, more)
		}
	default:
		for ok && !n.After(now) {
			period := s.table.Period(n)
			if now.Sub(n.Add(s.delay(n, period))) <= min(lateLimit, period/2) {
				break
			}
			drop(s.table.Next(n))
		}
	}
	if !ok {
		return tick{}, false
	}
	return tick{nominal: n, due: n.Add(s.delay(n, s.table.Period(n))), missed: *missed}, true
}

// delay is the tick's share of the jitter: the same on every router, and shorter
// than the time to the next tick.
func (s *Source) delay(nominal time.Time, period time.Duration) time.Duration {
	most := min(s.Schedule.Jitter, period)
	if most < time.Millisecond {
		return 0
	}
	b := binary.BigEndian.AppendUint64([]byte(s.Name), uint64(nominal.UnixNano()))
	sum := sha256.Sum256(b)
	return time.Duration(binary.BigEndian.Uint64(sum[:8])%uint64(most/time.Millisecond)) * time.Millisecond
}

// fire commits a tick, however long that takes: it is not dropped any more. It
// returns the state's new version.
func (s *Source) fire(ctx context.Context, accept router.AcceptFunc, t tick, read uint64) (version uint64, err error) {
	w, err := s.write(position{From: t.nominal.UTC(), Last: t.nominal.UTC()}, read)
	if err != nil {
		return 0, err
	}
	err = s.retry(ctx, "tick", func() error {
		ev, err := s.event(t, max(0, s.Now().Sub(t.due)))
		if err != nil {
			return err
		}
		res, err := accept(ctx, ev, w)
		if err == nil && res.Duplicate { // by its id: the state is of before
			_, err = accept(ctx, nil, w)
		}
		return err
	})
	if err == nil && t.missed > 0 {
		s.Log.Warn("ticks were missed", "source", s.Name, "missed", t.missed, "catch_up", s.Schedule.CatchUp, "next", t.nominal)
	}
	return w.Version, err
}

// data is what an event tells.
type data struct {
	Nominal time.Time `json:"nominal"`
	// Scheduled is Nominal in the schedule's zone.
	Scheduled time.Time `json:"scheduled"`
	Timezone  string    `json:"timezone"`
	// Late is how long after its due time it was made, in seconds.
	Late   float64 `json:"late"`
	Missed int     `json:"missed"`
	Manual bool    `json:"manual"`
}

func (s *Source) event(t tick, late time.Duration) (*rules.Event, error) {
	return s.make(s.Name+"/"+t.nominal.UTC().Format(time.RFC3339Nano), data{
		Nominal: t.nominal.UTC(), Late: late.Round(time.Millisecond).Seconds(), Missed: t.missed,
	})
}

// Manual makes the event of a run that a person asks for.
func (s *Source) Manual() (*rules.Event, error) {
	now := s.Now().UTC()
	return s.make(s.Name+"/manual/"+now.Format(time.RFC3339Nano), data{Nominal: now, Manual: true})
}

func (s *Source) make(id string, d data) (*rules.Event, error) {
	d.Scheduled, d.Timezone = d.Nominal.In(s.table.Location()), s.table.Location().String()
	text, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("tick: %w", err)
	}
	ev, err := rules.NewEvent(rules.Attributes{
		ID: id, Source: "pointsman:/schedules/" + s.Name, Type: EventType, Subject: s.Name,
		Time: d.Nominal.Format(time.RFC3339Nano), DataContentType: "application/json",
	}, text, rules.Limits{})
	if err != nil {
		return nil, fmt.Errorf("tick: %w", err)
	}
	return ev, nil
}

// Next lists the next n ticks, in the schedule's zone.
func (s *Source) Next(n int) []time.Time {
	out := make([]time.Time, 0, n)
	for at := s.Now(); len(out) < n; {
		next, ok := s.table.Next(at)
		if !ok {
			break
		}
		out = append(out, next)
		at = next
	}
	return out
}

// Last returns the last tick in the schedule's zone; zero when there was none.
func (s *Source) Last(ctx context.Context, state router.StateReader) (time.Time, error) {
	pos, _, err := load(ctx, state)
	if err != nil || pos.Last.IsZero() {
		return time.Time{}, err
	}
	return pos.Last.In(s.table.Location()), nil
}

// retry calls do until it is not the store that is in the way.
func (s *Source) retry(ctx context.Context, what string, do func() error) error {
	pause := firstRetry
	for said := false; ; {
		err := do()
		if err == nil || ctx.Err() != nil || !errors.Is(err, router.ErrUnavailable) && !errors.Is(err, router.ErrStopping) {
			if said && err == nil {
				s.Log.Info("schedule goes on", "source", s.Name)
			}
			return err
		}
		if !said {
			s.Log.Warn("schedule waits for the store", "source", s.Name, "at", what, "error", err)
			said = true
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
		pause = min(2*pause, lastRetry)
	}
}

// sleep waits for d; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
