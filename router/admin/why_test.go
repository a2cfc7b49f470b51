package admin_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/router/admin"
)

// An event that was not sent is explained, when it is one.
func TestWhyOfAnEventNotSent(t *testing.T) {
	t.Parallel()
	s := serve(t, sample(), nil)
	event := `{"specversion":"1.0","id":"x","source":"sw1","type":"t","data":{"n":1}}`
	why := decodeAs[admin.Why](t, s, request{
		method: "POST", path: "/api/v1/why", body: event,
		header: map[string]string{"Content-Type": "application/cloudevents+json; charset=utf-8"},
	})
	if why.UID != "" || len(why.Verdicts) != 2 {
		t.Errorf("%+v", why)
	}
	for name, body := range map[string]string{
		"not JSON":     `{`,
		"no type":      `{"specversion":"1.0","id":"x","source":"sw1"}`,
		"repeated":     `{"specversion":"1.0","id":"x","id":"y","source":"sw1","type":"t"}`,
		"an array":     `[` + event + `]`,
		"too deep":     `{"specversion":"1.0","id":"x","source":"sw1","type":"t","data":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`,
		"wrong type":   `{"specversion":"1.0","id":1,"source":"sw1","type":"t"}`,
		"invalid text": "{\"specversion\":\"1.0\",\"id\":\"\xff\",\"source\":\"sw1\",\"type\":\"t\"}",
	} {
		resp, answer := call(t, s, request{method: "POST", path: "/api/v1/why", body: body})
		var p admin.Problem
		if err := json.Unmarshal(answer, &p); err != nil || resp.StatusCode != http.StatusBadRequest || p.Code == "" {
			t.Errorf("%s: %d %s", name, resp.StatusCode, answer)
		}
	}
}
