package redis

import (
	"strconv"

	"github.com/pointsman/pointsman/router/store"
)

// The keys of a router name. All begin with the prefix {pm:NAME}:, so they share
// one hash tag and one slot. The scripts get the prefix as KEYS[1] and use the
// same names below it.
//
//	meta        hash: seq and dseq (the next numbers of events and deliveries),
//	            epoch (the last one), bytes (what is in use by the store's own
//	            account), full (1: commits are refused), segment, layout (2)
//	inst        hash: instance -> start, pid, time, host
//	counts      hash: STATE:ACTION -> number of deliveries
//	revs        hash: revision -> stored, created, data
//	revrefs     hash: revision -> number of events that refer to it
//	evs, ds     zset: events, deliveries, by number
//	q:ACTION    zset: what is ready, by due time in microseconds; at infinity what
//	            waits for another of its lane
//	l:ACTION    zset: what is leased, by the end of the lease
//	n:LANE      zset: what is ready or leased of a lane, by number
//	b:LANE      string: the delivery of a lane that is leased; one that was
//	            cancelled meanwhile ends by its TTL
//	x:STATE:ACTION
//	            zset: what is ready (1), dead (4), held (5), cancelled (6), by number
//	e:UID       string: an event; never changes
//	u:UID       string: the number of its duplicates, if there are any
//	l:UID       string: ids of deliveries that were added to an event later, or
//	            that are left of one that was removed
//	d:ID        string: a delivery: its record
//	c:ID        string: the call of a delivery and what never changes of it
//	h:ID        list: its attempts but the newest, oldest first
//	i:SEGMENT   string: the hashes of the ids of 1024 events, 4 bytes each
//	m:HASH      string: the mark of an identity; ends by its TTL
//	s:KEY       string: a state; ends by its TTL, or is its source's and stays
//	op:ID       string: the result of an operation; ends after a minute
//	wake        channel: something may have become due
type keys struct{ prefix string }

func keysOf(name string) keys { return keys{prefix: "{pm:" + name + "}:"} }

func (k keys) counts() string              { return k.prefix + "counts" }
func (k keys) revisions() string           { return k.prefix + "revs" }
func (k keys) events() string              { return k.prefix + "evs" }
func (k keys) deliveries() string          { return k.prefix + "ds" }
func (k keys) leases(action string) string { return k.prefix + "l:" + action }
func (k keys) in(state store.DeliveryState, action string) string {
	return k.prefix + "x:" + strconv.Itoa(int(state)) + ":" + action
}
func (k keys) event(uid string) string      { return k.prefix + "e:" + uid }
func (k keys) duplicates(uid string) string { return k.prefix + "u:" + uid }
func (k keys) mark(hash string) string      { return k.prefix + "m:" + hash }
func (k keys) call(id string) string        { return k.prefix + "c:" + id }
func (k keys) also(uid string) string       { return k.prefix + "l:" + uid }
func (k keys) delivery(id string) string    { return k.prefix + "d:" + id }
func (k keys) history(id string) string     { return k.prefix + "h:" + id }
func (k keys) segment(n string) string      { return k.prefix + "i:" + n }
func (k keys) meta() string                 { return k.prefix + "meta" }
func (k keys) lane(name string) string      { return k.prefix + "n:" + name }
func (k keys) busy(name string) string      { return k.prefix + "b:" + name }
func (k keys) wake() string                 { return k.prefix + "wake" }
