package redis_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/redis"
)

func TestShortfalls(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s.url(), "a", nil)
	for _, tt := range []struct {
		name, appendonly, fsync, policy string
		want                            store.Durability
		fatal, warned                   []string
	}{
		{"none asks for nothing", "no", "no", "allkeys-lru", store.None, nil, nil},
		{"process with always", "yes", "always", "noeviction", store.Process, nil, nil},
		{"process with everysec", "yes", "everysec", "noeviction", store.Process, nil, []string{"appendfsync=everysec"}},
		{"process with no", "yes", "no", "noeviction", store.Process, []string{"appendfsync=no"}, nil},
		{"process without a file", "no", "always", "noeviction", store.Process, []string{"appendonly=no"}, nil},
		{"process with eviction", "yes", "always", "allkeys-lru", store.Process, []string{"maxmemory-policy=allkeys-lru"}, nil},
		{"volatile eviction takes marks and states", "yes", "always", "volatile-ttl", store.Process, []string{"maxmemory-policy=volatile-ttl"}, nil},
		{"strict with always", "yes", "always", "noeviction", store.Strict, nil, nil},
		{"strict with everysec", "yes", "everysec", "noeviction", store.Strict, []string{"appendfsync=everysec"}, nil},
		{"strict, all wrong", "no", "no", "allkeys-lfu", store.Strict, []string{"maxmemory-policy=allkeys-lfu", "appendonly=no"}, nil},
	} {
		s.do("CONFIG", "SET", "appendonly", tt.appendonly, "appendfsync", tt.fsync, "maxmemory-policy", tt.policy)
		var fatal, warned []string
		for _, f := range check(db.Shortfalls(t.Context(), tt.want))(t) {
			if f.Want == "" {
				t.Errorf("%s: %s does not say what to do", tt.name, f.Setting)
			}
			if f.Fatal {
				fatal = append(fatal, f.Setting+"="+f.Value)
			} else {
				warned = append(warned, f.Setting+"="+f.Value)
			}
		}
		if diff := cmp.Diff([][]string{tt.fatal, tt.warned}, [][]string{fatal, warned}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestRestrictedUser runs with what docs/redis.md says a user must be allowed.
func TestRestrictedUser(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.do("ACL", "SETUSER", "pm", "on", ">sixteen-and-more", "~{pm:a}:*", "&{pm:a}:*", "-@all", "+@read", "+@write", "+@connection",
		"+@scripting", "+@transaction", "+publish", "+subscribe", "+unsubscribe", "+info", "+time", "-@dangerous", "+info")
	url := strings.Replace(s.url(), "redis://", "redis://pm:sixteen-and-more@", 1)
	db := open(t, url, "a", nil)
	enter(t, db, "i")
	check(db.Commit(t.Context(), txn("1", "a")))(t)
	l := claim(t, db, "a")
	check(db.Settle(t.Context(), done(&l[0])))(t)
	check(db.Counts(t.Context()))(t)
	check(db.History(t.Context(), l[0].Delivery.ID))(t)
	check(db.Retain(t.Context(), store.Policy{Size: 1}))(t)
	s.do("CONFIG", "SET", "appendonly", "yes")
	for _, want := range []store.Durability{store.Process, store.Strict} {
		short := check(db.Shortfalls(t.Context(), want))(t)
		if len(short) != 1 || short[0].Setting != "appendfsync" || short[0].Value != "unknown" || short[0].Fatal != (want == store.Strict) {
			t.Errorf("%v: %+v", want, short)
		}
	}
	s.do("ACL", "SETUSER", "pm", "-evalsha", "-eval")
	_, err := db.Commit(t.Context(), txn("2", "a"))
	if err == nil || !strings.Contains(err.Error(), "docs/redis.md") {
		t.Errorf("a user that may not run scripts: %v", err)
	}
	// Another name's keys are out of its reach.
	c := goredis.NewClient(mustURL(t, url))
	defer c.Close()
	if err := c.Get(t.Context(), "{pm:b}:meta").Err(); err == nil {
		t.Error("the user reads another name's keys")
	}
}

func mustURL(t *testing.T, url string) *goredis.Options {
	t.Helper()
	return check(goredis.ParseURL(url))(t)
}

func TestErrorsHideThePassword(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, url := range []string{"redis://u:hunter2@%zz/0", "http://u:hunter2@h/0", strings.Replace(s.url(), "redis://", "redis://u:hunter2@", 1)} {
		db, err := redis.Open(redis.Config{URL: url, Name: "a"})
		if err == nil {
			_, err = db.Enter(t.Context(), store.Instance{ID: "i"})
			_ = db.Close()
		}
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error: %v", err)
		}
	}
}
