package ingest_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

// standardNow is when the specification's example was signed.
const standardNow = 1614265330

func standardAuth(keys ...string) ingest.Auth {
	return ingest.StandardWebhooks(ingest.StandardWebhooksConfig{
		Keys: keys, Now: func() time.Time { return time.Unix(standardNow, 0) },
	})
}

// standardTranslation has the id of the request, as the configuration has it.
func standardTranslation() rules.Translation {
	return rules.Translation{Type: `"t"`, ID: `headers["webhook-id"]`}
}

func standardRig(t *testing.T, keys ...string) *authRig {
	t.Helper()
	hook := newHook(t, standardTranslation())
	hook.Auth = standardAuth(keys...)
	return newAuthRig(t, ingest.Sources{Hooks: []ingest.Hook{hook}})
}

// sign is one signature as a sender writes it.
func sign(key, id, timestamp, body string) string {
	return "v1," + base64.StdEncoding.EncodeToString(authMAC(sha256.New, key, id+"."+timestamp+"."+body))
}

func standardHeaders(id, timestamp, signatures string) []string {
	return []string{"webhook-id: " + id, "webhook-timestamp: " + timestamp, "webhook-signature: " + signatures}
}

// The example of the specification, with the time of its clock.
// (Standard Webhooks 1.0.0; the same vector is in its libraries.)
func TestStandardWebhooksVector(t *testing.T) {
	t.Parallel()
	key, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	rig := standardRig(t, string(key))
	res := rig.send(t, "/hooks/hook", `{"test": 2432232314}`,
		standardHeaders("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")...)
	if res.status != 202 {
		t.Fatalf("%d %s", res.status, res.body)
	}
	want := `{"specversion":"1.0","id":"msg_p5jXN8AQM9LWM0D4loKWxJek","source":"pointsman:/hooks/hook","type":"t",` +
		`"datacontenttype":"application/json","time":"2021-02-25T15:02:10Z","data":{"test": 2432232314}}`
	if diff := cmp.Diff(want, string(rig.events()[0].JSON())); diff != "" {
		t.Error(diff)
	}
}

func TestStandardWebhooks(t *testing.T) {
	t.Parallel()
	const id, body = "msg_1", `{"n": 1}`
	now := strconv.Itoa(standardNow)
	good := sign(authKey, id, now, body)
	bad := sign(authOther, id, now, body)
	for name, tc := range map[string]struct {
		id, timestamp, signatures string
		status                    int
		code                      string
	}{
		"good":                        {id, now, good, 202, ""},
		"among others":                {id, now, bad + " v1a,AAAA v2," + good[3:] + " " + good, 202, ""},
		"the old key":                 {id, now, sign("canary-older-key-of-the-source", id, now, body), 202, ""},
		"the 16th":                    {id, now, strings.Repeat(bad+" ", 15) + good, 202, ""},
		"the 17th":                    {id, now, strings.Repeat(bad+" ", 16) + good, 401, "unauthorized"},
		"behind 1000 of a newer kind": {id, now, strings.Repeat("v1a,AAAA ", 1000) + good, 202, ""},
		"another version":             {id, now, "v2," + good[3:], 401, "unauthorized"},
		"no version":                  {id, now, good[3:], 401, "unauthorized"},
		"commas between":              {id, now, bad + "," + good, 401, "unauthorized"},
		"of the body alone":           {id, now, "v1," + base64.StdEncoding.EncodeToString(authMAC(sha256.New, authKey, body)), 401, "unauthorized"},
		"in hex":                      {id, now, "v1," + hexMAC(authKey, id+"."+now+"."+body), 401, "unauthorized"},
		"cut":                         {id, now, good[:len(good)-4], 401, "unauthorized"},
		"another id":                  {"msg_2", now, good, 401, "unauthorized"},
		"no id":                       {"", now, sign(authKey, "", now, body), 401, "unauthorized"},
		"another time":                {id, strconv.Itoa(standardNow - 1), good, 401, "unauthorized"},
		"no time":                     {id, "", sign(authKey, id, "", body), 401, "timestamp"},
		"time with a sign":            {id, "+" + now, sign(authKey, id, "+"+now, body), 401, "timestamp"},
		"time with a dot":             {id, now + ".0", sign(authKey, id, now+".0", body), 401, "timestamp"},
		"time in milliseconds":        {id, now + "000", sign(authKey, id, now+"000", body), 401, "timestamp"},
		"time in other digits":        {id, "١٦١٤٢٦٥٣٣٠", sign(authKey, id, "١٦١٤٢٦٥٣٣٠", body), 401, "timestamp"},
		"300 seconds ago":             {id, strconv.Itoa(standardNow - 300), sign(authKey, id, strconv.Itoa(standardNow-300), body), 202, ""},
		"300 seconds ahead":           {id, strconv.Itoa(standardNow + 300), sign(authKey, id, strconv.Itoa(standardNow+300), body), 202, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := standardRig(t, authKey, "canary-older-key-of-the-source")
			res := rig.send(t, "/hooks/hook", body, standardHeaders(tc.id, tc.timestamp, tc.signatures)...)
			if res.status != tc.status || res.code != tc.code {
				t.Errorf("%d %s, want %d %s", res.status, res.body, tc.status, tc.code)
			}
			if got := len(rig.events()); (got == 1) != (tc.status == 202) {
				t.Errorf("%d events were accepted", got)
			}
			rig.mu.Lock()
			defer rig.mu.Unlock()
			if strings.Contains(res.body+rig.log.String(), "canary") {
				t.Error("a secret is shown")
			}
		})
	}
	if got := fmt.Sprintf("%v %#v", standardAuth(authKey), standardAuth(authKey)); got != "standard-webhooks standard-webhooks" {
		t.Errorf("it prints as %s", got)
	}
}

// The tolerance and the clock without a configuration of their own.
func TestStandardWebhooksDefaults(t *testing.T) {
	t.Parallel()
	hook := newHook(t, standardTranslation())
	hook.Auth = ingest.StandardWebhooks(ingest.StandardWebhooksConfig{Keys: []string{authKey}})
	rig := newAuthRig(t, ingest.Sources{Hooks: []ingest.Hook{hook}})
	for ago, want := range map[time.Duration]int{0: 202, 4 * time.Minute: 202, 6 * time.Minute: 401} {
		at := strconv.FormatInt(time.Now().Add(-ago).Unix(), 10)
		if res := rig.send(t, "/hooks/hook", "{}", standardHeaders("1", at, sign(authKey, "1", at, "{}"))...); res.status != want {
			t.Errorf("%s ago: %d %s", ago, res.status, res.body)
		}
	}
}

// The signature is in no event; the id and the time may be.
func TestStandardWebhooksHeaders(t *testing.T) {
	t.Parallel()
	hook := newHook(t, rules.Translation{Type: `"t"`, Time: "body.at", Data: `[headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"]]`})
	hook.Auth = standardAuth(authKey)
	rig := newAuthRig(t, ingest.Sources{Hooks: []ingest.Hook{hook}})
	const body = `{"at": "2021-02-25T15:00:00Z"}`
	now := strconv.Itoa(standardNow)
	if res := rig.send(t, "/hooks/hook", body, standardHeaders("1", now, sign(authKey, "1", now, body))...); res.status != 202 {
		t.Fatal(res.body)
	}
	ev := rig.events()[0]
	if diff := cmp.Diff(`["1","1614265330",null] 2021-02-25T15:00:00Z`, string(ev.Data())+" "+ev.Time().Format(time.RFC3339)); diff != "" {
		t.Error(diff)
	}
}

// No headers get a request in but those that hold the right signature of what
// they say.
func FuzzStandardWebhooks(f *testing.F) {
	now := strconv.Itoa(standardNow)
	good := sign(authKey, "1", now, "{}")
	f.Add("1", now, good)
	f.Add("1", now, "v1a,x "+good)
	f.Add("1."+now, "", good)
	f.Add("", "-1", "v1, v1,=")
	f.Add("1", "1000000000000000000000000000000", strings.Repeat("v1,AAAA ", 100))
	tr, err := rules.NewTranslator(rules.Translation{Name: "hook", Type: `"t"`})
	if err != nil {
		f.Fatal(err)
	}
	h := ingest.New(ingest.Config{Accept: func(_ context.Context, _ router.Origin, evs []*rules.Event) ([]router.Result, error) {
		return make([]router.Result, len(evs)), nil
	}})
	h.SetSources(ingest.Sources{Hooks: []ingest.Hook{{Name: "hook", Auth: standardAuth(authKey), Translator: tr}}})
	f.Fuzz(func(t *testing.T, id, timestamp, signatures string) {
		req := httptest.NewRequest(http.MethodPost, "/hooks/hook", strings.NewReader("{}"))
		req.Header["Webhook-Id"], req.Header["Webhook-Timestamp"] = []string{id}, []string{timestamp}
		req.Header["Webhook-Signature"] = []string{signatures}
		res := httptest.NewRecorder()
		h.ServeHTTP(res, req)
		if res.Code != http.StatusUnauthorized && !strings.Contains(signatures, sign(authKey, id, timestamp, "{}")) {
			t.Errorf("%q %q %q are answered with %d", id, timestamp, signatures, res.Code)
		}
	})
}
