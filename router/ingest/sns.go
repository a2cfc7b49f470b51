package ingest

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // version 1 of the signatures is made with it
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// SNSConfig configures SNS.
type SNSConfig struct {
	// Topics are the ARNs that may send. Anyone with an account can have their
	// own topic signed by Amazon, so that the signature alone says little.
	Topics []string
	// Transport fetches certificates and confirms subscriptions; default one
	// that dials no address of this host or link.
	Transport http.RoundTripper
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Bounds of SNS.
const (
	// snsAge is how old a message may be: as long as ids are remembered.
	snsAge = 24 * time.Hour
	// snsFetch is how long a request of ours may take, and how large an answer
	// may be.
	snsFetch, snsAnswer = 5 * time.Second, 64 << 10
	// snsCertificates is how many certificates are kept.
	snsCertificates = 16
)

// Types of messages that Amazon SNS sends.
const (
	snsNotification = "Notification"
	snsConfirmation = "SubscriptionConfirmation"
)

// snsCertificate is the path of a certificate.
var snsCertificate = regexp.MustCompile(`^/SimpleNotificationService-[0-9a-zA-Z]{1,64}\.pem$`)

// SNS wants messages of Amazon SNS that it has signed (version 1 or 2) for one
// of the topics. The certificate is fetched from the host of Amazon SNS in the
// topic's region, and from nowhere else; so is the URL that confirms a
// subscription. Both follow no redirect, and are bounded.
// (Amazon SNS Developer Guide, "Verifying the signatures of Amazon SNS messages".)
func SNS(c SNSConfig) Auth {
	s := &sns{regions: make(map[string]string), now: c.Now, certificates: make(map[string]*x509.Certificate), fetching: make(chan struct{}, 1)}
	for _, topic := range c.Topics {
		// arn:aws:sns:REGION:ACCOUNT:NAME
		if parts := strings.Split(topic, ":"); len(parts) == 6 {
			s.regions[topic] = parts[3]
		}
	}
	if s.now == nil {
		s.now = time.Now
	}
	transport := c.Transport
	if transport == nil {
		transport = newSNSTransport()
	}
	s.client = &http.Client{
		Transport: transport, Timeout: snsFetch,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return Auth{s}
}

// newSNSTransport connects over TLS, without a proxy, to other hosts only.
func newSNSTransport() *http.Transport {
	d := &net.Dialer{Timeout: snsFetch, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if ip := at.Addr().Unmap(); ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() {
			return fmt.Errorf("%s is not an address of Amazon", ip)
		}
		return nil
	}}
	return &http.Transport{
		DialContext: d.DialContext, TLSHandshakeTimeout: snsFetch, ResponseHeaderTimeout: snsFetch,
		MaxResponseHeaderBytes: snsAnswer, DisableKeepAlives: true,
	}
}

// sns is SNS.
type sns struct {
	// regions are those of the topics that may send.
	regions map[string]string
	client  *http.Client
	now     func() time.Time
	// fetching holds a token while a certificate is fetched.
	fetching chan struct{}

	mu           sync.Mutex // guards what follows
	certificates map[string]*x509.Certificate
}

func (s *sns) name() string      { return "sns" }
func (s *sns) signed() bool      { return true }
func (s *sns) header() string    { return "X-Amz-Sns-Message-Type" }
func (s *sns) challenge() string { return "" }

// check verifies what is signed. Nothing is fetched for a topic that is not
// configured.
func (s *sns) check(r *http.Request, body []byte) *problem {
	m := snsMessage(body)
	host, known := s.host(m["TopicArn"])
	at, err := time.Parse(time.RFC3339, m["Timestamp"])
	signature, badBase64 := base64.StdEncoding.DecodeString(m["Signature"])
	place, badURL := url.Parse(m["SigningCertURL"])
	if !known || err != nil || badBase64 != nil || badURL != nil || !pinned(place, host) ||
		!snsCertificate.MatchString(place.Path) || place.RawQuery != "" {
		return unauthorized()
	}
	if age := s.now().Sub(at); age > snsAge || age < -defaultTolerance {
		p := unauthorized()
		p.code, p.detail = "timestamp", "the message is more than a day old, or of the future by the clock of this host"
		return p
	}
	cert, err := s.certificate(r.Context(), place)
	if err != nil {
		return unavailable("the certificate of Amazon SNS could not be fetched")
	}
	key, isRSA := cert.PublicKey.(*rsa.PublicKey)
	if now := s.now(); !isRSA || now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return unauthorized()
	}
	text := []byte(snsSigned(m))
	switch m["SignatureVersion"] {
	case "1":
		sum := sha1.Sum(text) //nolint:gosec // as Amazon makes it
		err = rsa.VerifyPKCS1v15(key, crypto.SHA1, sum[:], signature)
	case "2":
		sum := sha256.Sum256(text)
		err = rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature)
	default:
		return unauthorized()
	}
	if err != nil {
		return unauthorized()
	}
	return nil
}

// snsMessage reads the texts of a message by their exact names; nothing of one
// that is not good.
func snsMessage(body []byte) map[string]string {
	var members map[string]any
	if json.Unmarshal(body, &members) != nil {
		return nil
	}
	m := make(map[string]string, len(members))
	for name, value := range members {
		if text, ok := value.(string); ok {
			m[name] = text
		}
	}
	return m
}

// snsSigned is what is signed of a message: names and values in lines.
func snsSigned(m map[string]string) string {
	names := []string{"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"}
	if m["Type"] != snsNotification {
		names = []string{"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"}
	}
	var b strings.Builder
	for _, name := range names {
		if value, ok := m[name]; ok {
			b.WriteString(name + "\n" + value + "\n")
		}
	}
	return b.String()
}

// host is that of Amazon SNS for a topic; false when the topic may not send.
func (s *sns) host(topic string) (string, bool) {
	region, ok := s.regions[topic]
	host := "sns." + region + ".amazonaws.com"
	if strings.HasPrefix(topic, "arn:aws-cn:") {
		host += ".cn"
	}
	return host, ok
}

// pinned tells whether a URL is one of a host, over TLS and nothing else.
func pinned(u *url.URL, host string) bool {
	return u.Scheme == "https" && u.Host == host && u.User == nil && u.Opaque == "" && u.Fragment == ""
}

// certificate returns that of a URL. One is fetched at a time; the others wait
// for it as long as a fetch may take.
func (s *sns) certificate(ctx context.Context, place *url.URL) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*snsFetch)
	defer cancel()
	if cert := s.known(place.String(), nil); cert != nil {
		return cert, nil
	}
	select {
	case s.fetching <- struct{}{}:
		defer func() { <-s.fetching }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if cert := s.known(place.String(), nil); cert != nil {
		return cert, nil
	}
	text, err := s.fetch(ctx, place)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no certificate in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	return s.known(place.String(), cert), nil
}

// known looks a certificate up, or keeps it.
func (s *sns) known(name string, cert *x509.Certificate) *x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cert == nil {
		return s.certificates[name]
	}
	if len(s.certificates) >= snsCertificates {
		clear(s.certificates)
	}
	s.certificates[name] = cert
	return cert
}

// fetch gets a URL that was checked.
func (s *sns) fetch(ctx context.Context, place *url.URL) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, place.String(), nil)
	if err != nil {
		return nil, err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, snsAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the answer is %d", res.StatusCode)
	case len(text) > snsAnswer:
		return nil, errors.New("the answer is too large")
	}
	return text, nil
}

// confirm visits the URL of a message that was checked and confirms a
// subscription; false when the message is another one.
func (s *sns) confirm(ctx context.Context, body []byte) (bool, error) {
	m := snsMessage(body)
	if m["Type"] != snsConfirmation {
		return false, nil
	}
	topic := m["TopicArn"]
	host, known := s.host(topic)
	place, err := url.Parse(m["SubscribeURL"])
	if !known || err != nil || !pinned(place, host) || place.Path != "/" && place.Path != "" {
		return true, errors.New("its URL is not one of Amazon SNS")
	}
	if q := place.Query(); len(q["Action"]) != 1 || q.Get("Action") != "ConfirmSubscription" || q.Get("TopicArn") != topic {
		return true, errors.New("its URL does something else")
	}
	_, err = s.fetch(ctx, place)
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err // the URL holds a token
	}
	return true, err
}
