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
	d := store.Delivery{ID: "d", EventUID: "u", Action: "a", Lane: "l", Rule: "r", Key: "k", Params: []byte("{}")}
	ev, err := encodeEvent(&store.Event{Source: "s", ID: "1", JSON: []byte("{}"), Verdicts: []store.Verdict{{Rule: "r"}}}, []store.Delivery{d})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ev)
	record := make([]byte, 60)
	record[0], record[1] = recordVersion, byte(store.Done)
	record = appendRest(record, &d, 1)
	f.Add(record)
	f.Add(append(record, appendAttempt(make([]byte, 4), &store.Attempt{Outcome: "done"})...))
	f.Add(appendCall(nil, &d))
	f.Add(bytes.Repeat([]byte{0xff}, 200))
	f.Fuzz(func(t *testing.T, b []byte) {
		v := string(b)
		if ev, err := decodeEvent("u", v); err == nil && len(ev.JSON) > len(v) {
			t.Error(hex.EncodeToString(b))
		} else if doc, docErr := eventJSON("u", v); err == nil && (docErr != nil || !bytes.Equal(doc, ev.JSON)) {
			t.Error(hex.EncodeToString(b))
		}
		if d, err := decodeDelivery("d", v, v); err == nil && len(d.Params)+len(d.Error) > len(v) {
			t.Error(hex.EncodeToString(b))
		}
		if d := (&store.Delivery{}); decodeCall(d, v) == nil && len(d.Params) > len(v) {
			t.Error(hex.EncodeToString(b))
		}
		_, _ = decodeAttempt(v)
		_, _ = decodeState("k", v)
		_, _ = decodeIDs(v)
	})
}
