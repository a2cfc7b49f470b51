package main

import (
	"context"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

// newIngest wires the public handler to the router.
func (s *server) newIngest() *ingest.Handler {
	c := s.cfg
	return ingest.New(ingest.Config{
		Accept: func(ctx context.Context, from router.Origin, evs []*rules.Event) ([]router.Result, error) {
			return s.router.Accept(ctx, from, evs)
		},
		Body: c.Limits.Body, BatchBody: c.Limits.BatchBody, InFlight: inFlight(c.Limits.InFlight, s.memory), Batch: c.Limits.Batch, Depth: c.Limits.Depth,
		Hops:     c.Limits.Hops,
		Rejected: func(source string) { s.metrics.CountEvent(source, router.EventRejected, time.Now()) },
		Panicked: s.panicked,
		Log:      s.log,
	})
}

// panicked counts a panic that ended one request.
func (s *server) panicked(value any) { s.metrics.Panicked(s.log, "request", value) }

// ingestSources are the sources of a configuration as the public handler takes
// them.
func ingestSources(l *loaded) ingest.Sources {
	c := l.cfg
	out := ingest.Sources{Events: ingest.Events{
		Auth: ingestAuth(c.Events.Auth), Dedup: c.Events.Dedup, Origins: c.Events.Origins,
		Rate: c.Events.Rate,
	}}
	for _, src := range c.Sources {
		if tr := l.hooks[src.Name]; tr != nil {
			out.Hooks = append(out.Hooks, ingestHook(src, tr))
		}
	}
	return out
}

func ingestHook(src config.Source, tr *rules.Translator) ingest.Hook {
	return ingest.Hook{
		Name: src.Name, Type: src.Type, Auth: ingestAuth(src.Auth), Dedup: src.Dedup, Body: src.Body, Rate: src.Rate,
		// Products send JSON; a form is what a hand-made request becomes without a type.
		JSON: src.Type != config.Webhook && src.Type != config.StandardWebhooks,
		Text: src.Text, EventGrid: src.Protocol == config.ProtocolEventGrid, Translator: tr,
	}
}

// ingestAuth is the one place where secrets of senders leave the configuration.
func ingestAuth(a config.Auth) ingest.Auth {
	switch a.Kind {
	case config.AuthHMAC:
		return ingest.HMAC(ingest.HMACConfig{
			Secrets: reveal(a.Secrets), Header: a.Header, Algorithm: a.Algorithm, Encoding: a.Encoding, Prefix: a.Prefix,
			Timestamp: a.Timestamp, Separator: a.Separator, Tolerance: a.Tolerance,
		})
	case config.AuthBearer:
		return ingest.Bearer(a.Token.Reveal(), a.Query, reveal(a.Secrets)...)
	case config.AuthBasic:
		return ingest.Basic(a.User, a.Password.Reveal())
	case config.AuthToken:
		return ingest.Token(a.Header, a.Token.Reveal(), reveal(a.Secrets)...)
	case config.AuthCertificate:
		return ingest.Certificate(a.Names)
	case config.AuthStandardWebhooks:
		return ingest.StandardWebhooks(ingest.StandardWebhooksConfig{Keys: reveal(a.Secrets)})
	case config.AuthSNS:
		return ingest.SNS(ingest.SNSConfig{Topics: a.Topics})
	case config.AuthNone:
		return ingest.Auth{}
	}
	// A kind that nobody wrote code for lets nobody in: no signature fits.
	return ingest.HMAC(ingest.HMACConfig{Header: "Authorization"})
}

func reveal(secrets []config.Secret) []string {
	out := make([]string, len(secrets))
	for i, s := range secrets {
		out[i] = s.Reveal()
	}
	return out
}
