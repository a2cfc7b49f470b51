package probe

import (
	"crypto/x509"
	"fmt"
	"regexp"

	"github.com/pointsman/pointsman/router/config"
)

// Configured returns the source of one configured probe. slots is as in Config.
func Configured(name string, c *config.Probe, slots chan struct{}) (*Source, error) {
	cfg := Config{
		Source: name, Kind: c.Kind, Interval: c.Interval, Timeout: c.Timeout,
		DownAfter: c.DownAfter, UpAfter: c.UpAfter, Slots: slots,
	}
	if c.TLS != nil {
		cfg.ExpiresWithin = c.TLS.ExpiresWithin
	}
	for _, target := range c.Targets {
		check, err := configured(c, func(text string) string { return c.Fill(text, target) })
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", target, err)
		}
		cfg.Targets = append(cfg.Targets, Target{Name: target, Check: check})
	}
	return New(cfg), nil
}

func configured(c *config.Probe, fill func(string) string) (Check, error) {
	switch {
	case c.HTTP != nil:
		return configuredHTTP(c.HTTP, fill)
	case c.TCP != nil:
		expect, err := pattern(c.TCP.Expect)
		if err != nil {
			return nil, err
		}
		t := TCPConfig{Address: fill(c.TCP.Address), Send: fill(c.TCP.Send), Expect: expect}
		if c.TCP.TLS {
			o := trust(c.TCP.Trust, fill)
			t.TLS = &o
		}
		return TCP(t), nil
	case c.TLS != nil:
		return TLS(TLSConfig{Address: fill(c.TLS.Address), TLSOptions: trust(c.TLS.Trust, fill)}), nil
	case c.DNS != nil:
		d := DNSConfig{Name: fill(c.DNS.Name), Type: c.DNS.Type, Server: fill(c.DNS.Server)}
		for _, v := range c.DNS.Expect {
			d.Expect = append(d.Expect, fill(v))
		}
		return DNS(d)
	case c.ICMP != nil:
		return ICMP(fill(c.ICMP.Host)), nil
	case c.Command != nil:
		output, err := pattern(c.Command.Output)
		if err != nil {
			return nil, err
		}
		cmd := CommandConfig{Dir: c.Command.Dir, Exit: c.Command.Exit, Output: output}
		for _, arg := range c.Command.Argv {
			cmd.Argv = append(cmd.Argv, fill(arg))
		}
		return Command(cmd), nil
	}
	return nil, fmt.Errorf("unknown kind %q", c.Kind)
}

func configuredHTTP(c *config.ProbeHTTP, fill func(string) string) (Check, error) {
	matches, err := pattern(c.BodyMatches)
	if err != nil {
		return nil, err
	}
	h := HTTPConfig{
		Method: c.Method, URL: fill(c.URL), Status: c.Status, Contains: fill(c.Body), Matches: matches,
		Follow: c.Follow, TLS: trust(c.Trust, fill), Header: make(map[string]string, len(c.Headers)),
	}
	for name, value := range c.Headers {
		h.Header[name] = fill(value.Reveal())
	}
	return HTTP(h)
}

func pattern(text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, nil
	}
	return regexp.Compile(text)
}

func trust(t config.ProbeTrust, fill func(string) string) TLSOptions {
	o := TLSOptions{ServerName: fill(t.ServerName), SkipVerify: !t.Verify}
	if t.CA != "" {
		o.CA = x509.NewCertPool()
		o.CA.AppendCertsFromPEM([]byte(t.CA))
	}
	return o
}
