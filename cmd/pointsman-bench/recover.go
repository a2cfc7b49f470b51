package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// recover sends at the rate of l, kills the plugin with SIGKILL in the middle
// and returns how long after that its successor got the first event. Every event
// must be done in the end. It is meant for once per serve: a plugin that dies
// again within a minute is started again only after a pause.
func (s *served) recover(ctx context.Context, n *sequence, l load) (time.Duration, error) {
	type killed struct {
		at  time.Time
		err error
	}
	result := make(chan killed, 1)
	go func() {
		select {
		case <-time.After(l.length / 2):
		case <-ctx.Done():
		}
		k := killed{err: ctx.Err()}
		if k.err == nil {
			k.err = s.killPlugin(ctx)
			k.at = time.Now()
		}
		result <- k
	}()
	sent, err := drive(ctx, s.events, n, l)
	k := <-result
	if err = errors.Join(err, k.err); err != nil {
		return 0, err
	}
	if _, err := s.await(ctx, s.settled+sent.events, true); err != nil {
		return 0, err
	}
	s.settled += sent.events
	select {
	case <-time.After(3 * flushEvery): // what the plugin notes reaches the file
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return s.firstAfter(k.at)
}

// killPlugin kills the process of the one action.
func (s *served) killPlugin(ctx context.Context) error {
	page, err := s.get(ctx, "/api/v1/actions")
	if err != nil {
		return err
	}
	var list struct{ Actions []struct{ PID int } }
	if err := json.Unmarshal(page, &list); err != nil {
		return err
	}
	if len(list.Actions) != 1 || list.Actions[0].PID == 0 {
		return errors.New("no plugin is running")
	}
	return unix.Kill(list.Actions[0].PID, unix.SIGKILL)
}

// firstAfter reads when an event came first after t.
func (s *served) firstAfter(t time.Time) (time.Duration, error) {
	b, err := os.ReadFile(s.times)
	if err != nil {
		return 0, err
	}
	first := int64(0)
	for b = b[s.seen:]; len(b) >= timeRecord; b = b[timeRecord:] {
		if at := int64(binary.LittleEndian.Uint64(b[8:])); at > t.UnixNano() && (first == 0 || at < first) {
			first = at
		}
	}
	if first == 0 {
		return 0, errors.New("the plugin got nothing any more")
	}
	return time.Duration(first - t.UnixNano()), nil
}
