package redis

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/pointsman/pointsman/router/store"
)

// FuzzDecode states that no value, whoever wrote it, brings a reader down or
// makes it take more memory than the value has.
func FuzzDecode(f *testing.F) {
	rest, err := encodeEvent(&store.Event{Source: "s", ID: "1", JSON: []byte("{}"), Verdicts: []store.Verdict{{Rule: "r"}}})
	if err != nil {
		f.Fatal(err)
	}
	head := make([]byte, 25)
	head[0] = eventVersion
	f.Add(append(append(head, 0, 0), rest...))
	record := make([]byte, headSize)
	record[0], record[1] = recordVersion, byte(store.Done)
	tail := append(make([]byte, 10), appendText(nil, encodeCall(&store.Call{Step: 1, Key: "k"}))...)
	f.Add(append(append(record, tail...), appendText(nil, encodeStatic(&store.Delivery{Rule: "r"}))...))
	laned := append(append(append([]byte{}, record...), tail...), appendText(nil, encodeStatic(&store.Delivery{Rule: "r"}))...)
	laned[0] = laneVersion
	f.Add(append(laned, 1, 0, 'x'))
	f.Add(bytes.Repeat([]byte{0xff}, 200))
	f.Fuzz(func(t *testing.T, b []byte) {
		v := string(b)
		if ev, err := decodeEvent("u", v); err == nil && len(ev.JSON) > len(v) {
			t.Error(hex.EncodeToString(b))
		}
		if d, err := decodeDelivery("d", v); err == nil && len(d.Params)+len(d.Error) > len(v) {
			t.Error(hex.EncodeToString(b))
		}
		_, _ = decodeAttempt(v)
		_, _ = decodeState("k", v)
		_, _ = decodeIDs(v)
	})
}
