package redis

// The keys of a router name. All begin with the prefix {pm:NAME}:, so they share
// one hash tag and one slot. The scripts get the prefix as KEYS[1] and use the
// same names below it.
//
//	meta        hash: seq and dseq (the next numbers of events and deliveries),
//	            epoch (the last one), bytes (what is in use by the store's own
//	            account), full (1: commits are refused), segment
//	inst        hash: instance -> start, pid, time, host
//	counts      hash: STATE:ACTION -> number of deliveries
//	leases      hash: delivery -> instance, while it is leased
//	revs        hash: revision -> stored, created, data
//	revrefs     hash: revision -> number of events that refer to it
//	evs, ds     zset: events, deliveries, by number
//	q:ACTION    zset: what is ready or leased, by due time in microseconds; at
//	            infinity what waits for another of its lane
//	n:LANE      zset: what is ready or leased of a lane, by number
//	b:LANE      string: the delivery of a lane that is leased; one that was
//	            cancelled meanwhile ends by its TTL
//	x:open:ACTION, x:STATE:ACTION
//	            zset: what is ready or leased; dead (4), held (5), cancelled (6);
//	            by number
//	e:UID       string: an event
//	l:UID       string: ids of deliveries that were added to an event later, or
//	            that are left of one that was removed
//	d:ID        string: a delivery
//	h:ID        list: its attempts, oldest first
//	i:SEGMENT   string: the hashes of the ids of 1024 events, 4 bytes each
//	m:HASH      string: the mark of an identity; ends by its TTL
//	s:KEY       string: a state; ends by its TTL, or is its source's and stays
//	op:ID       string: the result of an operation; ends after a minute
//	wake        channel: something may have become due
type keys struct{ prefix string }

func keysOf(name string) keys { return keys{prefix: "{pm:" + name + "}:"} }

func (k keys) counts() string                 { return k.prefix + "counts" }
func (k keys) leases() string                 { return k.prefix + "leases" }
func (k keys) revisions() string              { return k.prefix + "revs" }
func (k keys) events() string                 { return k.prefix + "evs" }
func (k keys) deliveries() string             { return k.prefix + "ds" }
func (k keys) open(action string) string      { return k.prefix + "x:open:" + action }
func (k keys) in(state, action string) string { return k.prefix + "x:" + state + ":" + action }
func (k keys) event(uid string) string        { return k.prefix + "e:" + uid }
func (k keys) also(uid string) string         { return k.prefix + "l:" + uid }
func (k keys) delivery(id string) string      { return k.prefix + "d:" + id }
func (k keys) history(id string) string       { return k.prefix + "h:" + id }
func (k keys) segment(n string) string        { return k.prefix + "i:" + n }
func (k keys) meta() string                   { return k.prefix + "meta" }
func (k keys) lane(name string) string        { return k.prefix + "n:" + name }
func (k keys) busy(name string) string        { return k.prefix + "b:" + name }
func (k keys) wake() string                   { return k.prefix + "wake" }
