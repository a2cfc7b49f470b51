package config

import (
	"fmt"
	"slices"

	"github.com/pointsman/pointsman/rules/schema"
)

// sourceSchema is one source: its type says which keys it has.
func sourceSchema() (schema.Schema, error) {
	var names []string
	var forms []schema.Schema
	for _, t := range sourceTypes() {
		if t.adapter {
			var err error
			if t, err = adapterType(t.name); err != nil {
				return nil, err
			}
		}
		names = append(names, t.name)
		fields := everySource(t)
		described := sourceFields(t)
		for _, key := range t.keys {
			if i := slices.IndexFunc(described, func(f schema.Field) bool { return f.Name == key }); i >= 0 {
				fields = append(fields, described[i])
				continue
			}
			fields = append(fields, schema.Field{Name: key, Value: schema.Anything()})
		}
		for i := range fields {
			fields[i].Value = schema.Referable(fields[i].Value)
		}
		forms = append(forms, when("type", t.name, belongTogether(t.name, schema.Object(fields...))))
	}
	return schema.Schema{
		"type": "object", "required": []string{"name", "type"}, "allOf": forms,
		"properties": schema.Schema{
			"name": schema.Schema{"type": "string"},
			"type": schema.Schema{"description": "The type of the source.", "enum": names},
		},
	}, nil
}

// sourceFields describes the keys that a type of source has beyond those of
// every source, as sourceTypes lists them. A test finds a key that is missing
// here, or is described otherwise than the reader takes it.
func sourceFields(t sourceType) []schema.Field {
	switch t.name {
	case Webhook:
		return hookFields(t, "type")
	case TypeSchedule:
		return scheduleFields()
	case TypeSNMPTrap:
		return snmpTrapFields()
	case TypeSyslog:
		return syslogFields()
	case TypeProbe:
		return probeFields()
	case TypeNetlink:
		return netlinkFields()
	case TypeFile:
		return fileFields()
	}
	return hookFields(t) // StandardWebhooks and the adapters
}

// belongTogether says which keys of a source need or exclude each other.
func belongTogether(kind string, s schema.Schema) schema.Schema {
	switch kind {
	case StandardWebhooks:
		s["dependentSchemas"] = schema.Schema{"each": schema.Schema{
			"required":   []string{"event"},
			"properties": schema.Schema{"event": schema.Schema{"required": []string{"type", "id"}}},
		}}
	case TypeSchedule:
		return schema.Exactly(s, "cron", "every", "at")
	case TypeProbe:
		return schema.Exactly(s, probeKinds()...)
	case TypeSNMPTrap:
		s["anyOf"] = []schema.Schema{
			{"required": []string{"community"}},
			{"required": []string{"users"}, "properties": schema.Schema{"users": schema.Schema{"minItems": 1}}},
		}
	case TypeSyslog:
		listens := func(form string, then schema.Schema) schema.Schema {
			listen := schema.Schema{"listen": schema.Schema{"type": "string", "pattern": form}}
			return schema.Schema{"if": schema.Schema{"properties": listen, "required": []string{"listen"}}, "then": then}
		}
		s["allOf"] = []schema.Schema{
			listens("^tls://", schema.Schema{"required": []string{"tls"}}),
			listens("^(udp|tcp)://", schema.Schema{"properties": schema.Schema{"tls": false}}),
			listens("^udp://", schema.Schema{"properties": schema.Schema{"connections": false, "idle": false}}),
		}
	}
	return s
}

// everySource are the keys of every type of source; those of monitors are name
// and type.
func everySource(t sourceType) []schema.Field {
	fields := []schema.Field{
		{Name: "name", Required: true, Value: nameText(), Doc: "What queries show as source; the path of a webhook is /hooks/NAME."},
		{Name: "type", Required: true, Value: schema.Schema{"const": t.name}, Doc: "The type of the source."},
	}
	if t.monitor {
		return fields
	}
	auth := schema.Field{Name: "auth", Default: "none", Value: authForms(t.vendor), Doc: "How senders prove themselves. Required when other hosts can reach listen."}
	if t.name == StandardWebhooks {
		auth = schema.Field{Name: "auth", Required: true, Value: schema.Object(schema.Field{
			Name: "hmac", Required: true, Value: secretOrSecrets(), Doc: "The secret of Standard Webhooks: whsec_ and base64.",
		}), Doc: "How senders prove themselves: {hmac: {secret: ...}}."}
	}
	return append(fields, auth, schema.Field{
		Name: "dedup", Default: fmt.Sprintf("%.0fh", t.dedup.Hours()), Value: schema.Duration(),
		Doc: "How long an event's source and id are remembered; at most 366d, 0s: not at all. " +
			"Where the time of sending is signed, three times its tolerance or more.",
	})
}

// hookFields are the keys of sources that take requests; required are the keys
// of event that cannot be left out.
func hookFields(t sourceType, required ...string) []schema.Field {
	expression := schema.Text("")
	otherwise := func(what string) string {
		if t.name == Webhook || t.name == StandardWebhooks {
			return what
		}
		return "; left out: as the product says"
	}
	extensions := schema.Mapping()
	extensions["propertyNames"] = schema.Schema{"pattern": "^[a-z0-9]+$"}
	extensions["additionalProperties"] = expression
	kind := otherwise("")
	if t.name == StandardWebhooks {
		kind = "; left out: body.type"
	}
	event := []schema.Field{
		{Name: "type", Value: expression, Doc: `An expression for the type of the event, such as '"ticket." + body.action'` + kind + "."},
		{Name: "source", Value: expression, Doc: "An expression for the source" + otherwise("; left out: pointsman:/hooks/NAME") + "."},
		{Name: "id", Value: expression, Doc: "An expression for the id" + otherwise("; left out: a hash of the content") + "."},
		{Name: "subject", Value: expression, Doc: "An expression for the subject" + otherwise("; left out: none") + "."},
		{Name: "time", Value: expression, Doc: "An expression for the time" + otherwise("; left out: when it was received") + "."},
		{Name: "data", Value: expression, Doc: "An expression for the data" + otherwise("; left out: the item, without each the body") + "."},
		{Name: "extensions", Value: extensions, Doc: "Expressions for extension attributes, by name (a-z and 0-9)."},
	}
	for i := range event {
		event[i].Required = slices.Contains(required, event[i].Name)
	}
	return []schema.Field{
		rateField(),
		{Name: "body", Value: schema.Size(), Doc: "The size of a request, after decoding, 1KiB to 64MiB; left out: limits.body."},
		{Name: "each", Value: expression, Doc: "An expression that yields a list: one event for each item" + otherwise("") + "."},
		{
			Name: "event", Required: len(required) > 0, Value: schema.Object(event...),
			Doc: "Expressions over body, headers, query and item that make the event" + otherwise("") + ".",
		},
		{Name: "skip", Value: expression, Doc: "An expression: a request for which it is true makes no event" + otherwise("") + "."},
		{
			Name: "strip", Value: schema.List(schema.Text(`^(body|headers|query)(\.[^.]+)+$`)),
			Doc: "Paths of what is removed before anything else: body.a.b, headers.x-name, query.name.",
		},
		{
			Name: "decode", Value: schema.List(schema.Text(`^body(\.[^.]+)+$`)),
			Doc: "Paths below body of texts that hold JSON and are replaced by it.",
		},
		{Name: "text", Default: t.text, Value: schema.Boolean(), Doc: "Also takes JSON that is sent as text/plain."},
	}
}
