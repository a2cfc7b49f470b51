package config

import (
	"encoding/base64"
	"strings"

	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// StandardWebhooks is the type of source that takes requests at /hooks/NAME
// which are signed as Standard Webhooks says.
const StandardWebhooks = "standard-webhooks"

// standardAuth reads {hmac: {secret: ...}} or {hmac: {secrets: [...]}}: header,
// algorithm and encoding are those of the specification.
func (r *reader) standardAuth(m *strictyaml.Map) Auth {
	n := m.Required("auth")
	if n.IsText() {
		n.Secret()
		n.Errorf("type %s is signed (write {hmac: {secret: ...}}, or type: webhook)", StandardWebhooks)
		return Auth{}
	}
	entries, _ := n.Entries()
	for _, e := range entries {
		if e.Name != "hmac" || !e.Value.IsMap() {
			e.Value.Secret()
		}
	}
	return r.standardHMAC(n.Map("hmac").Required("hmac"))
}

func (r *reader) standardHMAC(h *strictyaml.Node) Auth {
	a := Auth{Kind: AuthStandardWebhooks}
	for _, s := range r.secrets(h, h.Map("secret", "secrets")) {
		keys, problem := standardKeys(s.value.Reveal())
		// What is shorter as it is written has its problem already.
		if problem != "" && len(s.value.Reveal()) >= minSecret {
			s.node.Errorf("%s", problem)
		}
		a.Secrets = append(a.Secrets, keys...)
	}
	return a
}

// standardKeys are the keys that a secret may mean: what whsec_ is the base64
// of. Without whsec_ senders differ, so the text is taken as base64 and as the
// key itself.
func standardKeys(text string) (keys []Secret, problem string) {
	encoded, marked := strings.CutPrefix(text, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	switch {
	case marked && err != nil:
		return nil, "what follows whsec_ is not base64"
	case marked && len(key) < minSecret:
		return nil, "the key that follows whsec_ is too short (16 bytes or more are needed)"
	case err == nil && len(key) >= minSecret:
		keys = append(keys, Secret{string(key)})
	}
	if !marked {
		keys = append(keys, Secret{text})
	}
	return keys, ""
}

// standardWebhooks reads the keys of a source of type StandardWebhooks. With
// each, it is told how to make events as a webhook is.
func (r *reader) standardWebhooks(m *strictyaml.Map, s *Source) {
	t := rules.Translation{Name: s.Name}
	if m.Key("each") != nil {
		r.translation(m, s, t, "type", "id")
		return
	}
	t.Type = `type(body.type) == "string" and body.type != "" ? body.type : "` + StandardWebhooks + `"`
	t.ID = `headers["webhook-id"]`
	t.Data = `type(body) == "map" and "type" in body and "data" in body ? body.data : body`
	r.translation(m, s, t)
}
