package ingest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

// clock is a clock that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func translator(t *testing.T, name string) *rules.Translator {
	t.Helper()
	tr, err := rules.NewTranslator(rules.Translation{Name: name, Type: `"x"`})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestRateIsPerSource(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := serve(t, ingest.Config{Now: c.now})
	s.handler.SetSources(ingest.Sources{
		Events: ingest.Events{Rate: 2},
		Hooks: []ingest.Hook{
			{Name: "slow", Rate: 0.1, Translator: translator(t, "slow")},
			{Name: "free", Translator: translator(t, "free")},
		},
	})
	event := func() received { return s.post(with(""), "Content-Type", structured) }
	hook := func(name string) received {
		return s.request(http.MethodPost, "/hooks/"+name, strings.NewReader(`{"a":1}`), "Content-Type", "application/json")
	}
	wanted := func(what string, got received, status int, retryAfter string) {
		t.Helper()
		if got.status != status || got.header.Get("Retry-After") != retryAfter {
			t.Errorf("%s: %d, Retry-After %q, want %d and %q: %s", what, got.status, got.header.Get("Retry-After"), status, retryAfter, got.body)
		}
		if status == 429 && got.problem.Code != "rate_limited" {
			t.Errorf("%s: code %q", what, got.problem.Code)
		}
	}
	wanted("first", event(), 202, "")
	wanted("second", event(), 202, "")
	wanted("third within the second", event(), 429, "1")
	wanted("slow source, first", hook("slow"), 202, "")
	wanted("slow source, second", hook("slow"), 429, "10")
	for range 20 {
		wanted("source without a rate", hook("free"), 202, "")
	}
	c.add(500 * time.Millisecond)
	wanted("half a second later", event(), 202, "")
	wanted("and no more", event(), 429, "1")
	c.add(9 * time.Second)
	wanted("slow source, too early", hook("slow"), 429, "1")
	c.add(500 * time.Millisecond)
	wanted("slow source, after 10 s", hook("slow"), 202, "")

	// A batch larger than the rate is taken, and paid for afterwards.
	c.add(time.Minute)
	batch := "[" + strings.TrimSuffix(strings.Repeat(with("")+",", 10), ",") + "]"
	wanted("batch", s.post(batch, "Content-Type", "application/cloudevents-batch+json"), 202, "")
	wanted("after the batch", event(), 429, "5")
	c.add(4500 * time.Millisecond)
	wanted("paid for", event(), 202, "")
	// What is refused costs nothing.
	c.add(time.Second)
	wanted("bad event", s.post("{", "Content-Type", structured), 400, "")
	wanted("then", event(), 202, "")
	wanted("and then", event(), 202, "")
	c.add(-time.Hour)
	wanted("a clock that goes back", event(), 429, "1")
}

func TestRateAsksForTheProofFirst(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := serve(t, ingest.Config{Now: c.now})
	token := strings.Repeat("t", 20)
	s.handler.SetSources(ingest.Sources{Events: ingest.Events{Rate: 1, Auth: ingest.Bearer(token, false)}})
	for range 5 {
		if got := s.post(with(""), "Content-Type", structured); got.status != 401 {
			t.Fatalf("%d without a token", got.status)
		}
	}
	if got := s.post(with(""), "Content-Type", structured, "Authorization", "Bearer "+token); got.status != 202 {
		t.Errorf("strangers used up the rate: %d", got.status)
	}
}

func TestHops(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, header, members string
		status                int
		code                  string
		want                  any // extension of the accepted event
	}{
		{"neither", "", "", 202, "", nil},
		{"header", "1", "", 202, "", int32(1)},
		{"extension", "", `"pointsmanhops":3,`, 202, "", int32(3)},
		{"extension as text", "", `"pointsmanhops":"3",`, 202, "", int32(3)},
		{"the larger counts", "2", `"pointsmanhops":7,`, 202, "", int32(7)},
		{"the larger counts, other way", "8", `"pointsmanhops":7,`, 202, "", int32(8)},
		{"zero", "0", "", 202, "", nil},
		{"too many by header", "9", "", 400, "too_many_hops", nil},
		{"too many by extension", "", `"pointsmanhops":9,`, 400, "too_many_hops", nil},
		{"junk in the header", "many", "", 400, "bad_hops", nil},
		{"negative", "-1", "", 400, "bad_hops", nil},
		{"junk in the extension", "", `"pointsmanhops":"many",`, 400, "bad_hops", nil},
		{"boolean", "1", `"pointsmanhops":true,`, 400, "bad_hops", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, ingest.Config{})
			header := []string{"Content-Type", structured}
			if tt.header != "" {
				header = append(header, "Pointsman-Hops", tt.header)
			}
			got := s.post(with(tt.members), header...)
			if got.status != tt.status || got.problem.Code != tt.code {
				t.Fatalf("%d %s, want %d %s", got.status, got.body, tt.status, tt.code)
			}
			evs := s.sink.events()
			if tt.status != 202 {
				if len(evs) > 0 {
					t.Error("it was accepted")
				}
				return
			}
			if v, _ := evs[0].Attribute("pointsmanhops"); v != tt.want {
				t.Errorf("extension %v, want %v", v, tt.want)
			}
			if _, err := rules.ParseEvent(evs[0].JSON(), rules.Limits{}); err != nil {
				t.Errorf("stored as %s: %v", evs[0].JSON(), err)
			}
		})
	}
}

func TestHopsOfAWebhook(t *testing.T) {
	t.Parallel()
	s := serve(t, ingest.Config{Hops: 2})
	s.handler.SetSources(ingest.Sources{Hooks: []ingest.Hook{{Name: "a", Translator: translator(t, "a")}}})
	send := func(hops string) received {
		return s.request(http.MethodPost, "/hooks/a", strings.NewReader(`{"a":`+hops+`}`),
			"Content-Type", "application/json", "Pointsman-Hops", hops)
	}
	if got := send("2"); got.status != 202 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if v, _ := s.sink.events()[0].Attribute("pointsmanhops"); v != int32(2) {
		t.Errorf("extension %v", v)
	}
	if got := send("3"); got.status != 400 || got.problem.Code != "too_many_hops" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestManyIdleConnections: connections that send nothing do not keep out one
// that does, and one that is being served is not closed for a new one.
func TestManyIdleConnections(t *testing.T) {
	t.Parallel()
	const most = 50
	release := make(chan struct{})
	arrived := make(chan struct{}, 1)
	s := serve(t, ingest.Config{Accept: func(ctx context.Context, _ router.Origin, evs []*rules.Event) ([]router.Result, error) {
		if evs[0].ID() == "slow" {
			arrived <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return make([]router.Result, len(evs)), nil
	}}, func(srv *http.Server) {
		srv.ConnState = ingest.NewServer(nil, most).ConnState
		srv.ReadHeaderTimeout = time.Minute // it is not what closes them
	})
	busy, answer := s.raw(sized(strings.Replace(with(""), `"id":"1"`, `"id":"slow"`, 1)))
	defer busy.Close()
	<-arrived
	var idle []net.Conn
	for range 40 * most {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
		defer c.Close()
	}
	if got := s.post(with(""), "Content-Type", structured); got.status != 202 {
		t.Errorf("%d %s", got.status, got.body)
	}
	// The first of them gave way.
	if err := idle[0].SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := idle[0].Read(make([]byte, 1)); n > 0 || err == nil || timedOut(err) {
		t.Errorf("the oldest idle connection is open: %d, %v", n, err)
	}
	close(release)
	if got := s.answers(answer, 1)[0]; got.status != 202 {
		t.Errorf("the one that was served: %d", got.status)
	}
}

func TestConnectionsAllBusy(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	arrived := make(chan struct{}, 16)
	s := serve(t, ingest.Config{Accept: func(_ context.Context, _ router.Origin, evs []*rules.Event) ([]router.Result, error) {
		arrived <- struct{}{}
		<-release
		return make([]router.Result, len(evs)), nil
	}}, func(srv *http.Server) { srv.ConnState = ingest.NewServer(nil, 16).ConnState })
	for range 16 {
		c, _ := s.raw(sized(with("")))
		defer c.Close()
		<-arrived
	}
	c, r := s.raw(sized(with("")))
	defer c.Close()
	if rest, err := io.ReadAll(r); len(rest) > 0 || timedOut(err) {
		t.Errorf("one too many is served: %q, %v", rest, err)
	}
	close(release)
}

// authority is a certificate authority of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) client(c *x509.Certificate) *http.Client {
	a.t.Helper()
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cert, key := a.sign(c)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, // the server's is not what is tested
		Certificates:       []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
	}}}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	h := ingest.New(ingest.Config{Accept: func(_ context.Context, _ router.Origin, evs []*rules.Event) ([]router.Result, error) {
		return make([]router.Result, len(evs)), nil
	}})
	h.SetSources(ingest.Sources{Events: ingest.Events{Auth: ingest.Certificate([]string{
		"core.example.net", "*.mon.example.net", "spiffe://example.net/probe", "192.0.2.7",
	})}})
	srv := httptest.NewUnstartedServer(h)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	srv.TLS = &tls.Config{ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven}
	srv.StartTLS()
	t.Cleanup(srv.Close)

	spiffe, err := url.Parse("spiffe://example.net/probe")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		client *http.Client
		status int // 0: the handshake fails
	}{
		{"exact name", ca.client(&x509.Certificate{DNSNames: []string{"CORE.example.net"}}), 202},
		{"one label below", ca.client(&x509.Certificate{DNSNames: []string{"ams1.mon.example.net"}}), 202},
		{"second of its names", ca.client(&x509.Certificate{DNSNames: []string{"x.example.net", "core.example.net"}}), 202},
		{"URI", ca.client(&x509.Certificate{URIs: []*url.URL{spiffe}}), 202},
		{"address", ca.client(&x509.Certificate{IPAddresses: []net.IP{net.ParseIP("192.0.2.7")}}), 202},
		{"two labels below", ca.client(&x509.Certificate{DNSNames: []string{"a.b.mon.example.net"}}), 401},
		{"the parent itself", ca.client(&x509.Certificate{DNSNames: []string{"mon.example.net"}}), 401},
		{"other name", ca.client(&x509.Certificate{DNSNames: []string{"evil.example.org"}}), 401},
		{"common name only", ca.client(&x509.Certificate{Subject: pkix.Name{CommonName: "core.example.net"}}), 401},
		{"none", &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}, 401},
		{"of another authority", other.client(&x509.Certificate{DNSNames: []string{"core.example.net"}}), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/events", strings.NewReader(with("")))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", structured)
			res, err := tt.client.Do(req)
			if tt.status == 0 {
				if err == nil {
					_ = res.Body.Close()
					t.Fatalf("taken: %d", res.StatusCode)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != tt.status {
				text, _ := io.ReadAll(res.Body)
				t.Errorf("%d %s, want %d", res.StatusCode, text, tt.status)
			}
		})
	}
	if got := fmt.Sprintf("%v %+v", h, ingest.Certificate([]string{"secret.example.net"})); strings.Contains(got, "secret.example.net") {
		t.Errorf("names are shown: %s", got)
	}
}
