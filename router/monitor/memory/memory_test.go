package memory_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/monitor/memory"
	"github.com/pointsman/pointsman/router/monitor/memory/memorytest"
	"github.com/pointsman/pointsman/rules"
)

func event(id, text string) (*rules.Event, error) {
	return rules.NewEvent(rules.Attributes{ID: id, Source: "test", Type: "changed", Subject: text}, nil, rules.Limits{})
}

func open(t *testing.T, s *memorytest.Store) *memory.Set {
	t.Helper()
	set, err := memory.Open(t.Context(), s.Accept, s, "things", 4)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func put(t *testing.T, set *memory.Set, key, value string) {
	t.Helper()
	err := set.Put(t.Context(), "src", key, value, func(id, old string) (*rules.Event, error) {
		return event(id, fmt.Sprintf("%s: %s -> %s", key, old, value))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func subjects(s *memorytest.Store) []string {
	var out []string
	for _, e := range s.Events() {
		out = append(out, e.Subject)
	}
	return out
}

func want(t *testing.T, s *memorytest.Store, events ...string) {
	t.Helper()
	if diff := cmp.Diff(events, subjects(s)); diff != "" {
		t.Fatal(diff)
	}
}

func TestSetRemembers(t *testing.T) {
	t.Parallel()
	s := &memorytest.Store{}
	set := open(t, s)
	world := map[string]string{}
	for i := range 20 {
		world[fmt.Sprint("k", i)] = "a"
	}
	if err := set.Baseline(t.Context(), world); err != nil {
		t.Fatal(err)
	}
	want(t, s)
	put(t, set, "k1", "b")
	put(t, set, "k1", "b")
	put(t, set, "k2", "")
	again := open(t, s)
	if err := again.Baseline(t.Context(), map[string]string{"k9": "other"}); err != nil {
		t.Fatal(err)
	}
	if got := []any{again.Len(), len(again.Keys()), again.Value("k1"), again.Value("k2"), again.Value("k9")}; !cmp.Equal(got, []any{19, 19, "b", "", "a"}) {
		t.Fatal(got)
	}
	put(t, again, "k2", "c")
	want(t, s, "k1: a -> b", "k2: a -> ", "k2:  -> c")
}

// A change that two routers see is one event, and the later of two changes is
// told against the earlier.
func TestSetOfTwoRouters(t *testing.T) {
	t.Parallel()
	s := &memorytest.Store{}
	one, two := open(t, s), open(t, s)
	for _, set := range []*memory.Set{one, two} {
		if err := set.Baseline(t.Context(), map[string]string{"k": "a"}); err != nil {
			t.Fatal(err)
		}
	}
	put(t, one, "k", "b")
	put(t, two, "k", "b")
	put(t, two, "k", "c")
	put(t, one, "k", "d")
	want(t, s, "k: a -> b", "k: b -> c", "k: c -> d")
}

func TestWriteOutlivesAStoreThatIsAway(t *testing.T) {
	t.Parallel()
	for name, away := range map[string][2]int{"nothing was written": {5, 0}, "the answer was lost": {0, 1}, "both": {3, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &memorytest.Store{}
				set := open(t, s)
				s.Away(away[0], away[1])
				if err := set.Baseline(t.Context(), map[string]string{"k": "a"}); err != nil {
					t.Fatal(err)
				}
				s.Away(away[0], away[1])
				put(t, set, "k", "b")
				put(t, set, "k", "c")
				want(t, s, "k: a -> b", "k: b -> c")
			})
		})
	}
}

func TestWriteEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memorytest.Store{}
		s.Away(1_000_000, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ev, err := event("1", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := memory.NewCell(s.Accept, s, "k").Write(ctx, []byte("{}"), ev); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if err := memory.Send(ctx, s.Accept, ev); err == nil {
			t.Fatal("sent")
		}
	})
}

// An event that is stored while its state is not does not hold up the source.
func TestWriteWithoutItsState(t *testing.T) {
	t.Parallel()
	s := &memorytest.Store{}
	cell := memory.NewCell(s.Accept, s, "k")
	ev, err := event(cell.EventID("src", "x"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := memory.Send(t.Context(), s.Accept, ev); err != nil {
		t.Fatal(err)
	}
	if err := cell.Write(t.Context(), []byte("1"), ev); err != nil || !cell.Known() {
		t.Fatal(err, cell.Known())
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"eth0": "eth0", "a b.é": "a b.é", "a\nb": `a\x0ab`, "\xff": `\xff`, "x\u0085y\u202e": `x\xc2\x85y\xe2\x80\xae`, "": "",
	} {
		if got := memory.Text(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestStaleCellHoldsWhatIsStored(t *testing.T) {
	t.Parallel()
	s := &memorytest.Store{}
	one, two := memory.NewCell(s.Accept, s, "k"), memory.NewCell(s.Accept, s, "k")
	if err := one.Write(t.Context(), []byte("1"), nil); err != nil {
		t.Fatal(err)
	}
	if err := two.Write(t.Context(), []byte("2"), nil); !errors.Is(err, router.ErrStale) || string(two.Data()) != "1" {
		t.Fatal(err, string(two.Data()))
	}
	if one.Version() != two.Version() || one.EventID("s", "a") != two.EventID("s", "a") || one.EventID("s", "a") == one.EventID("s", "b") {
		t.Fatal("ids")
	}
}
