package actions_test

import (
	"encoding/json"
	"testing"

	"github.com/pointsman/pointsman/actions"
)

func TestHops(t *testing.T) {
	t.Parallel()
	for event, want := range map[string]int{
		`{"id":"1"}`:                                     1,
		`{"id":"1","pointsmanhops":3}`:                   4,
		`{"id":"1","pointsmanhops":"3"}`:                 4,
		`{"id":"1","pointsmanhops":"x"}`:                 1,
		`{"id":"1","pointsmanhops":-1}`:                  1,
		`{"id":"1","data":{"pointsmanhops":7}}`:          1,
		`{"id":"1","data":"\"pointsmanhops\"" `:          1,
		`{"id":"1","data":{},"pointsmanhops" : 255 }`:    256,
		`{"id":"1","subject":"x","pointsmanhops": "10"}`: 11,
	} {
		req := &actions.Request{EventJSON: json.RawMessage(event)}
		if got := req.Hops(); got != want {
			t.Errorf("%s: %d, want %d", event, got, want)
		}
	}
}
