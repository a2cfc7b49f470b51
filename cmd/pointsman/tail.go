package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router/admin"
)

const (
	// tailEvery is the time between two questions.
	tailEvery = time.Second
	// tailOverlap is how far each question reaches back before the newest event
	// seen: requests that are accepted at the same time become visible in
	// another order than their uids have.
	tailOverlap = 2 * time.Second
)

func (a *app) eventsTailCmd() *cobra.Command {
	var f eventFilter
	var limit int
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Follow accepted events until interrupted",
		Long: "Follow accepted events until interrupted, which exits 0, or until --limit events were shown.\n" +
			"As JSON each event is one line.",
		Example: "  pointsman events tail --source netbox\n" +
			"  pointsman events tail --limit 1 -o json",
		Args: cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("limit") {
				if err := checkLimit(limit); err != nil {
					return err
				}
			}
			q, err := f.query(a)
			if err != nil {
				return err
			}
			c, err := a.admin()
			if err != nil {
				return err
			}
			t := &tail{app: a, client: c, query: q, left: limit, seen: map[string]bool{}}
			err = t.run(cmd.Context())
			if cmd.Context().Err() != nil {
				return nil
			}
			return err
		}),
	}
	f.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "end after this `many` events (default: never)")
	return cmd
}

// tail follows events; see tailOverlap.
type tail struct {
	app    *app
	client *client
	query  url.Values
	left   int
	// newest is the greatest uid seen; seen has those after the overlap began.
	newest string
	seen   map[string]bool
}

func (t *tail) run(ctx context.Context) error {
	var page admin.Events
	if err := t.client.get(ctx, api("events"), paged(clone(t.query), 1, ""), &page); err != nil {
		return err
	}
	if len(page.Events) > 0 {
		t.newest = page.Events[0].UID
	}
	if _, err := t.poll(ctx, false); err != nil {
		return err
	}
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if done, err := t.poll(ctx, true); err != nil || done {
			return err
		}
	}
}

// poll takes in what is new and says whether the limit is reached.
func (t *tail) poll(ctx context.Context, show bool) (bool, error) {
	after := uidFloor(t.newest, tailOverlap)
	for uid := range t.seen {
		if uid <= after {
			delete(t.seen, uid)
		}
	}
	for {
		q := paged(clone(t.query), eventPage, "")
		q.Set("after", after)
		var page admin.Events
		if err := t.client.get(ctx, api("events"), q, &page); err != nil {
			return false, err
		}
		for i := range page.Events {
			e := &page.Events[i]
			if t.seen[e.UID] {
				continue
			}
			t.seen[e.UID] = true
			t.newest = max(t.newest, e.UID)
			if !show {
				continue
			}
			if err := t.show(e); err != nil {
				return false, err
			}
			if t.left--; t.left == 0 {
				return true, nil
			}
		}
		if page.Next == "" || page.Next == after {
			return false, nil
		}
		after = page.Next
	}
}

func (t *tail) show(e *admin.Event) error {
	if t.app.json() {
		text, err := encodeJSON(e, "")
		if err != nil {
			return err
		}
		return t.app.print(text)
	}
	row := eventRow(e)
	for i := range row {
		row[i] = cell(row[i])
	}
	return t.app.printf("%s\n", strings.Join(row[:len(row)-1], "  "))
}

func clone(q url.Values) url.Values {
	c := make(url.Values, len(q)+2)
	for k, v := range q {
		c[k] = v
	}
	return c
}

// uidFloor is the smallest uid of the time that lies d before that of uid.
func uidFloor(uid string, d time.Duration) string {
	var ms uint64
	if len(uid) > 13 {
		if b, err := hex.DecodeString("0000" + uid[:8] + uid[9:13]); err == nil {
			ms = binary.BigEndian.Uint64(b)
		}
	}
	ms -= min(ms, uint64(d.Milliseconds()))
	return fmt.Sprintf("%08x-%04x-7000-8000-000000000000", ms>>16, ms&0xffff)
}
