package ingest

import (
	"encoding/json"
	"net/http"
)

// EventGridOrigin is who asks for consent before Azure Event Grid delivers
// CloudEvents.
const EventGridOrigin = "eventgrid.azure.net"

// maxValidationCode is the longest code that is repeated, in bytes.
const maxValidationCode = 256

// greet answers a request that is about the subscription and no event: with an
// object, or with nothing when there is nothing to say. Others are left alone.
func (h *Handler) greet(r *http.Request, hook *Hook, body []byte) (reply any, done bool, p *problem) {
	if s, ok := hook.Auth.scheme.(*sns); ok {
		done, err := s.confirm(r.Context(), body)
		switch {
		case err != nil:
			h.cfg.Log.Warn("subscription not confirmed", "source", hook.Name, "error", err)
			return nil, true, unavailable("the subscription could not be confirmed")
		case done:
			h.cfg.Log.Info("subscription confirmed", "source", hook.Name)
		}
		return nil, done, nil
	}
	if hook.EventGrid && r.Header.Get("Aeg-Event-Type") == "SubscriptionValidation" {
		reply, p := validation(body)
		if p == nil {
			h.cfg.Log.Info("subscription validated", "source", hook.Name)
		}
		return reply, true, p
	}
	return nil, false, nil
}

// validation repeats the code that Azure Event Grid wants to see.
// (Azure Event Grid, "Endpoint validation with Event Grid event schema".)
func validation(body []byte) (any, *problem) {
	var evs []struct {
		Data struct {
			Code string `json:"validationCode"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &evs) != nil || len(evs) != 1 || evs[0].Data.Code == "" || len(evs[0].Data.Code) > maxValidationCode {
		return nil, &problem{
			status: http.StatusUnprocessableEntity, code: "not_translated", attribute: "validationCode",
			detail: "the request to validate a subscription has no code",
		}
	}
	return map[string]string{"validationResponse": evs[0].Data.Code}, nil
}
