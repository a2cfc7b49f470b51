package ingest_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // version 1 of the signatures is made with it
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

const (
	snsTopic    = "arn:aws:sns:eu-west-1:123456789012:network-alarms"
	snsHostName = "sns.eu-west-1.amazonaws.com"
	snsCertPath = "/SimpleNotificationService-00112233445566778899aabbccddeeff.pem"
)

// amazon plays Amazon SNS: it serves its certificate and takes confirmations.
type amazon struct {
	key    *rsa.PrivateKey
	server *httptest.Server
	now    time.Time

	mu sync.Mutex // guards what follows
	// asked are the URLs that were fetched.
	asked []string
	// answer, if any, answers instead.
	answer http.HandlerFunc
}

func newAmazon(t *testing.T) *amazon {
	t.Helper()
	a := &amazon{now: time.Date(2026, 3, 9, 9, 0, 0, 0, time.UTC)}
	var err error
	if a.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	signing := selfSigned(t, a.key, "sns.amazonaws.com", a.now)
	a.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.asked = append(a.asked, "https://"+r.Host+r.URL.String())
		answer := a.answer
		a.mu.Unlock()
		if answer != nil {
			answer(w, r)
			return
		}
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: signing})
	}))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := selfSigned(t, key, snsHostName, time.Now())
	a.server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}} //nolint:gosec // a test's server
	a.server.StartTLS()
	t.Cleanup(a.server.Close)
	return a
}

// selfSigned makes a certificate that is good for a day around now.
func selfSigned(t *testing.T, key crypto.Signer, host string, now time.Time) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: now.Add(-12 * time.Hour), NotAfter: now.Add(12 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// transport dials the server whatever the host, which it must prove to be.
func (a *amazon) transport() http.RoundTripper {
	pool := x509.NewCertPool()
	pool.AddCert(a.server.Certificate())
	return &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, a.server.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}
}

func (a *amazon) fetched() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.asked...)
}

// message is a signed one; changes are made before it is signed.
func (a *amazon) message(t *testing.T, changes map[string]string) map[string]string {
	t.Helper()
	m := map[string]string{
		"Type": "Notification", "MessageId": "m-1", "TopicArn": snsTopic, "Subject": "loss", "Message": `{"n": 9007199254740993}`,
		"Timestamp": a.now.Add(-time.Minute).Format("2006-01-02T15:04:05.000Z"), "SignatureVersion": "2",
		"SigningCertURL": "https://" + snsHostName + snsCertPath, "UnsubscribeURL": "https://" + snsHostName + "/?Action=Unsubscribe",
	}
	for name, value := range changes {
		m[name] = value
		if value == "-" {
			delete(m, name)
		}
	}
	names := []string{"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"}
	if m["Type"] != "Notification" {
		names = []string{"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"}
	}
	text := ""
	for _, name := range names {
		if value, ok := m[name]; ok {
			text += name + "\n" + value + "\n"
		}
	}
	h, sum := crypto.SHA256, sha256.Sum256([]byte(text))
	digest := sum[:]
	if m["SignatureVersion"] == "1" {
		old := sha1.Sum([]byte(text)) //nolint:gosec // as Amazon makes it
		h, digest = crypto.SHA1, old[:]
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, a.key, h, digest)
	if err != nil {
		t.Fatal(err)
	}
	m["Signature"] = base64.StdEncoding.EncodeToString(signature)
	return m
}

func (a *amazon) rig(t *testing.T) *authRig {
	t.Helper()
	hook := newHook(t, rules.Translation{
		Type: `"t"`, ID: "body.MessageId", Skip: `body.Type != "Notification"`, Strip: []string{"body.Token", "body.SubscribeURL", "body.Signature"},
	})
	hook.Text = true
	hook.Auth = ingest.SNS(ingest.SNSConfig{Topics: []string{snsTopic, "no topic"}, Transport: a.transport(), Now: func() time.Time { return a.now }})
	return newAuthRig(t, ingest.Sources{Hooks: []ingest.Hook{hook}})
}

func (rig *authRig) sendSNS(t *testing.T, m map[string]string) reply {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return rig.send(t, "/hooks/hook", string(text), "Content-Type: text/plain; charset=UTF-8", "X-Amz-Sns-Message-Type: "+m["Type"])
}

func TestSNSSignatures(t *testing.T) {
	t.Parallel()
	a := newAmazon(t)
	for name, tc := range map[string]struct {
		before, after map[string]string
		status        int
		code          string
	}{
		"version 2":                  {nil, nil, 202, ""},
		"version 1":                  {map[string]string{"SignatureVersion": "1"}, nil, 202, ""},
		"no subject":                 {map[string]string{"Subject": "-"}, nil, 202, ""},
		"another URL to unsubscribe": {nil, map[string]string{"UnsubscribeURL": "https://attacker.example.net"}, 202, ""},
		"another version":            {nil, map[string]string{"SignatureVersion": "1"}, 401, "unauthorized"},
		"unknown version":            {map[string]string{"SignatureVersion": "3"}, nil, 401, "unauthorized"},
		"changed message":            {nil, map[string]string{"Message": "{}"}, 401, "unauthorized"},
		"changed subject":            {nil, map[string]string{"Subject": "x"}, 401, "unauthorized"},
		"no signature":               {nil, map[string]string{"Signature": ""}, 401, "unauthorized"},
		"signature is no base64":     {nil, map[string]string{"Signature": "!"}, 401, "unauthorized"},
		"topic of another":           {map[string]string{"TopicArn": "arn:aws:sns:eu-west-1:123456789012:other"}, nil, 401, "unauthorized"},
		"no topic":                   {map[string]string{"TopicArn": "no topic"}, nil, 401, "unauthorized"},
		"old":                        {map[string]string{"Timestamp": "2026-03-08T08:59:00.000Z"}, nil, 401, "timestamp"},
		"of the future":              {map[string]string{"Timestamp": "2026-03-09T09:06:00.000Z"}, nil, 401, "timestamp"},
		"no time":                    {map[string]string{"Timestamp": "now"}, nil, 401, "unauthorized"},
		"certificate of another":     {map[string]string{"SigningCertURL": "https://attacker.example.net" + snsCertPath}, nil, 401, "unauthorized"},
		"of another region":          {map[string]string{"SigningCertURL": "https://sns.us-east-1.amazonaws.com" + snsCertPath}, nil, 401, "unauthorized"},
		"a longer host":              {map[string]string{"SigningCertURL": "https://" + snsHostName + ".example.net" + snsCertPath}, nil, 401, "unauthorized"},
		"another port":               {map[string]string{"SigningCertURL": "https://" + snsHostName + ":8443" + snsCertPath}, nil, 401, "unauthorized"},
		"a user":                     {map[string]string{"SigningCertURL": "https://" + snsHostName + "@example.net" + snsCertPath}, nil, 401, "unauthorized"},
		"plain http":                 {map[string]string{"SigningCertURL": "http://" + snsHostName + snsCertPath}, nil, 401, "unauthorized"},
		"another path":               {map[string]string{"SigningCertURL": "https://" + snsHostName + "/?Action=Publish"}, nil, 401, "unauthorized"},
		"a path with a query":        {map[string]string{"SigningCertURL": "https://" + snsHostName + snsCertPath + "?x=1"}, nil, 401, "unauthorized"},
	} {
		rig := a.rig(t)
		m := a.message(t, tc.before)
		for name, value := range tc.after {
			m[name] = value
		}
		if res := rig.sendSNS(t, m); res.status != tc.status || res.code != tc.code {
			t.Errorf("%s: %d %s, want %d %s", name, res.status, res.body, tc.status, tc.code)
		}
	}
	for _, url := range a.fetched() {
		if url != "https://"+snsHostName+snsCertPath {
			t.Errorf("fetched %s", url)
		}
	}
	rig := a.rig(t)
	before := len(a.fetched())
	for i := range 3 {
		if res := rig.sendSNS(t, a.message(t, map[string]string{"MessageId": string(rune('a' + i))})); res.status != 202 {
			t.Errorf("%d %s", res.status, res.body)
		}
	}
	if n := len(a.fetched()) - before; n != 1 {
		t.Errorf("the certificate was fetched %d times", n)
	}
}

// A certificate that cannot be had is for later: SNS sends again.
func TestSNSCertificateCannotBeHad(t *testing.T) {
	t.Parallel()
	a := newAmazon(t)
	other := selfSigned(t, a.key, "x", a.now.Add(-48*time.Hour))
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		status int
	}{
		"error":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 503},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, 503},
		"no PEM":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }, 503},
		"endless":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) }, 503},
		"expired": {func(w http.ResponseWriter, _ *http.Request) {
			_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: other})
		}, 401},
	} {
		a.mu.Lock()
		a.answer, a.asked = tc.answer, nil
		a.mu.Unlock()
		if res := a.rig(t).sendSNS(t, a.message(t, nil)); res.status != tc.status {
			t.Errorf("%s: %d %s", name, res.status, res.body)
		}
		if n := len(a.fetched()); n != 1 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}

func TestSNSConfirmation(t *testing.T) {
	t.Parallel()
	a := newAmazon(t)
	good := "https://" + snsHostName + "/?Action=ConfirmSubscription&TopicArn=" + snsTopic + "&Token=canary"
	for name, tc := range map[string]struct {
		url    string
		status int
		visits bool
	}{
		"good":           {good, 202, true},
		"another host":   {strings.Replace(good, snsHostName, "attacker.example.net", 1), 503, false},
		"another region": {strings.Replace(good, "sns.eu-west-1", "sns.us-east-1", 1), 503, false},
		"another action": {strings.Replace(good, "ConfirmSubscription", "Publish", 1), 503, false},
		"another topic":  {strings.Replace(good, "network-alarms", "other", 1), 503, false},
		"another path":   {strings.Replace(good, "/?", "/x?", 1), 503, false},
		"plain http":     {strings.Replace(good, "https", "http", 1), 503, false},
		"no URL":         {"%", 503, false},
		"a port":         {strings.Replace(good, ".com/", ".com:444/", 1), 503, false},
		"two actions":    {good + "&Action=Unsubscribe", 503, false},
	} {
		a.mu.Lock()
		a.asked = nil
		a.mu.Unlock()
		rig := a.rig(t)
		m := a.message(t, map[string]string{"Type": "SubscriptionConfirmation", "SubscribeURL": tc.url, "Token": "canary", "Subject": "-"})
		res := rig.sendSNS(t, m)
		if res.status != tc.status || tc.status == 202 && res.body != "[]\n" || len(rig.events()) != 0 {
			t.Errorf("%s: %d %s", name, res.status, res.body)
		}
		if asked := a.fetched(); (len(asked) == 2 && asked[1] == tc.url) != tc.visits {
			t.Errorf("%s: asked %v", name, asked)
		}
		rig.mu.Lock()
		if strings.Contains(rig.log.String(), "canary") || !strings.Contains(rig.log.String(), "confirmed") {
			t.Errorf("%s: log %s", name, rig.log.String())
		}
		rig.mu.Unlock()
		rigCaptures, _ := rig.handler.Captures("hook")
		if text, _ := json.Marshal(rigCaptures); strings.Contains(string(text), "canary") {
			t.Errorf("%s: captured %s", name, text)
		}
	}
	m := a.message(t, map[string]string{"Type": "UnsubscribeConfirmation", "SubscribeURL": good, "Token": "canary", "Subject": "-"})
	a.mu.Lock()
	a.asked = nil
	a.mu.Unlock()
	if res := a.rig(t).sendSNS(t, m); res.status != 202 || res.body != "[]\n" || len(a.fetched()) != 1 {
		t.Errorf("unsubscribed: %d %s, asked %v", res.status, res.body, a.fetched())
	}
	m = a.message(t, map[string]string{"Type": "SubscriptionConfirmation", "SubscribeURL": good, "Token": "canary", "Subject": "-"})
	m["Token"] = "another"
	if res := a.rig(t).sendSNS(t, m); res.status != 401 {
		t.Errorf("not signed: %d %s", res.status, res.body)
	}
}

// By default no address of this host is dialled, whatever a name stands for.
func TestSNSTransportStaysAway(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request came") }))
	defer server.Close()
	conn, err := ingest.SNSTransport().DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err == nil {
		_ = conn.Close()
		t.Fatal("it dials loopback")
	}
	if !strings.Contains(err.Error(), "is not an address of Amazon") {
		t.Errorf("%v", err)
	}
}

func TestEventGridHandshakes(t *testing.T) {
	t.Parallel()
	hook := newHook(t, rules.Translation{Each: "body", Type: "item.eventType", ID: "item.id", Data: "nil"})
	hook.EventGrid, hook.Auth = true, ingest.Bearer(authKey, true)
	rig := newAuthRig(t, ingest.Sources{Hooks: []ingest.Hook{hook}})
	const path = "/hooks/hook?access_token=" + authKey
	ask := func(path, body string) reply {
		t.Helper()
		return rig.send(t, path, body, "Content-Type: application/json", "aeg-event-type: SubscriptionValidation")
	}
	good := `[{"id": "1", "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "512d38b6-c7b8", "validationUrl": "https://x"}}]`
	if res := ask(path, good); res.status != 200 || res.body != `{"validationResponse":"512d38b6-c7b8"}`+"\n" {
		t.Errorf("%d %s", res.status, res.body)
	}
	if res := ask("/hooks/hook", good); res.status != 401 {
		t.Errorf("a stranger: %d %s", res.status, res.body)
	}
	for _, body := range []string{`[]`, `{}`, `[{"data": {}}]`, `[{"data": {"validationCode": "` + strings.Repeat("x", 300) + `"}}]`} {
		if res := ask(path, body); res.status != 422 || res.code != "not_translated" {
			t.Errorf("%s: %d %s", body, res.status, res.body)
		}
	}
	if n := len(rig.events()); n != 0 {
		t.Errorf("%d events", n)
	}
	for origin, want := range map[string]int{"eventgrid.azure.net": 200, "attacker.example.net": 405} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, rig.URL+"/hooks/hook", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("WebHook-Request-Origin", origin)
		req.Header.Set("WebHook-Request-Rate", "120")
		res, err := rig.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want || want == 200 && (res.Header.Get("WebHook-Allowed-Origin") != origin || res.Header.Get("WebHook-Allowed-Rate") != "120") {
			t.Errorf("%s: %d %v", origin, res.StatusCode, res.Header)
		}
	}
}
