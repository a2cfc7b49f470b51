package config

import "github.com/pointsman/pointsman/rules/schema"

// sourceFields describes the keys that a type of source has beyond those of
// every source, as sourceTypes lists them. A test finds a key that is missing
// here, or is described otherwise than the reader takes it.
func sourceFields(kind string) []schema.Field {
	switch kind {
	case Webhook:
		return translationFields("type")
	case StandardWebhooks:
		return translationFields()
	}
	return nil
}

// everySource are the keys of every type of source.
func everySource(t sourceType) []schema.Field {
	kind := schema.Schema{"const": t.name}
	fields := []schema.Field{
		{Name: "name", Required: true, Value: nameText(), Doc: "What queries show as source; the path of a webhook is /hooks/NAME."},
		{Name: "type", Required: true, Value: kind, Doc: "The type of the source."},
	}
	auth := schema.Field{Name: "auth", Default: "none", Value: authForms(t.vendor), Doc: "How senders prove themselves. Required when other hosts can reach listen."}
	if t.name == StandardWebhooks {
		auth = schema.Field{Name: "auth", Required: true, Value: schema.Object(schema.Field{
			Name: "hmac", Required: true, Value: secretOrSecrets(), Doc: "The secret of Standard Webhooks: whsec_ and base64.",
		}), Doc: "How senders prove themselves: {hmac: {secret: ...}}."}
	}
	return append(fields, auth, schema.Field{
		Name: "dedup", Default: "24h", Value: schema.Duration(), Doc: "How long an event's source and id are remembered; 0s: not at all.",
	})
}

// translationFields are the keys of webhooks.
func translationFields(required ...string) []schema.Field {
	fields := []schema.Field{
		{Name: "type", Value: schema.Text(""), Doc: `An expression for the type of the event, such as '"ticket." + body.action'.`},
		{Name: "source", Value: schema.Text(""), Doc: "An expression for the source; left out: pointsman:/hooks/NAME."},
		{Name: "id", Value: schema.Text(""), Doc: "An expression for the id; left out: a hash of the content."},
		{Name: "subject", Value: schema.Text(""), Doc: "An expression for the subject."},
		{Name: "time", Value: schema.Text(""), Doc: "An expression for the time."},
		{Name: "data", Value: schema.Text(""), Doc: "An expression for the data; left out: the item, without each the body."},
	}
	needed := false
	for i := range fields {
		for _, name := range required {
			if fields[i].Name == name {
				fields[i].Required, needed = true, true
			}
		}
	}
	return []schema.Field{
		rateField(),
		{Name: "body", Value: schema.Size(), Doc: "The size of a request, after decoding; left out: limits.body."},
		{Name: "each", Value: schema.Text(""), Doc: "An expression that yields a list: one event for each item."},
		{Name: "event", Required: needed, Value: schema.Object(fields...), Doc: "Expressions over body, headers, query and item that make the event."},
	}
}
