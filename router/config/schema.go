package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/pointsman/pointsman/rules/schema"
)

// Schema returns the JSON Schema of pointsman.yaml. settings are the JSON
// Schemas of the settings of the bundled plugins, by name.
func Schema(settings map[string]json.RawMessage) ([]byte, error) {
	action, err := actionSchema(settings)
	if err != nil {
		return nil, err
	}
	fields := append(topFields(), schema.Field{Name: "actions", Value: schema.List(action), Doc: "What rules can call."})
	for i := range fields {
		fields[i].Value = schema.Referable(fields[i].Value)
	}
	source, err := sourceSchema()
	if err != nil {
		return nil, err
	}
	root := schema.Object(append(fields, schema.Field{
		Name: "sources", Value: schema.List(source), Doc: "Sources of events besides POST /events.",
	})...)
	root["type"] = []string{"object", "null"}
	return schema.Document("pointsman.yaml", "The configuration of pointsman.", root)
}

// addressForm is host:port.
const addressForm = `^[^ /@]*:[0-9]{1,5}$`

func nameText() schema.Schema { return schema.Text(nameForm.String()) }

func topFields() []schema.Field {
	return []schema.Field{
		{Name: "name", Default: "default", Value: nameText(), Doc: "Names the keys in Redis. Routers with one name on one Redis share one queue."},
		{
			Name: "listen", Default: "127.0.0.1:8080", Value: schema.Text(addressForm),
			Doc: "host:port for events. Beyond this host, events and every webhook need auth.",
		},
		{Name: "insecure", Default: false, Value: schema.Boolean(), Doc: "Allows sources without authentication beyond this host."},
		{Name: "admin", Value: adminSchema(), Doc: "The admin listener."},
		{
			Name: "data_dir", Default: "pointsman-data", Value: schema.Text(""),
			Doc: "The router's own folder: the embedded store, sockets, the instance record.",
		},
		{
			Name: "store", Default: "sqlite", Value: schema.Text(`^sqlite(:.+)?$|^rediss?://`),
			Doc: "Where events and deliveries are kept: sqlite, sqlite:PATH, redis://host:6379/0 or rediss://...",
		},
		{
			Name: "durability", Default: "process", Value: schema.Word("strict", "process", "none"),
			Doc: "What an accepted event survives: strict a crash of the machine, process a crash of any process.",
		},
		{
			Name: "rules", Default: defaultRules(), Value: schema.List(schema.Text(`^[^/]`)),
			Doc: "Patterns of rule files below the folder of this file. *_test.yaml is never a rule file.",
		},
		{Name: "events", Value: eventsSchema(), Doc: "POST /events."},
		{Name: "retention", Value: retentionSchema(), Doc: "How long finished work is kept."},
		{Name: "limits", Value: limitsSchema(), Doc: "What one request may be and cause."},
		{
			Name: "shutdown_grace", Default: "10s", Value: schema.Duration(),
			Doc: "How long running attempts may go on after SIGTERM; at most 1h.",
		},
		{Name: "tls", Value: tlsSchema(), Doc: "Serves listen over TLS."},
	}
}

func adminSchema() schema.Schema {
	return schema.Object(
		schema.Field{Name: "listen", Default: "127.0.0.1:8081", Value: schema.Text(addressForm), Doc: "host:port of the API, metrics and health checks."},
		schema.Field{Name: "token", Value: secretText(minSecret), Doc: "The bearer token, of 16 bytes or more. Without one, serve makes one in data_dir/admin-token."},
	)
}

func eventsSchema() schema.Schema {
	return schema.Object(
		schema.Field{Name: "auth", Default: "none", Value: authForms(vendor{}), Doc: "How senders prove themselves. Required when other hosts can reach listen."},
		schema.Field{Name: "dedup", Default: "24h", Value: schema.Duration(), Doc: "How long an event's source and id are remembered; at most 366d, 0s: not at all."},
		schema.Field{Name: "origins", Value: schema.List(schema.Text(`^[^/ \r\n]+$`)), Doc: `Origins that the CloudEvents web hook handshake permits; "*" is any.`},
		rateField(),
	)
}

// rateField is the key rate.
func rateField() schema.Field {
	return schema.Field{
		Name: "rate", Value: schema.Text(`^ *[0-9]*[1-9][0-9]* */ *[smh] *$`),
		Doc: "Events taken, such as 100/s, 600/m or 1000/h; what is more gets 429. Left out: no limit.",
	}
}

func retentionSchema() schema.Schema {
	return schema.Object(
		schema.Field{Name: "events", Default: "7d", Value: schema.Duration(), Doc: "How long events are kept; longer while a delivery needs them."},
		schema.Field{Name: "deliveries", Default: "30d", Value: schema.Duration(), Doc: "How long finished deliveries are kept."},
		schema.Field{Name: "size", Value: schema.Size(), Doc: "The size at which the oldest finished work goes earlier; 8GiB, with Redis 1GiB."},
	)
}

func limitsSchema() schema.Schema {
	return schema.Object(
		schema.Field{Name: "body", Default: "1MiB", Value: schema.Size(), Doc: "A request with one event, after decoding; 1KiB to 64MiB."},
		schema.Field{Name: "batch_body", Default: "8MiB", Value: schema.Size(), Doc: "A request with a batch, after decoding; 1KiB to 256MiB."},
		schema.Field{Name: "in_flight", Value: schema.Size(), Doc: "Memory for the bodies of all requests that are being received or stored, 1MiB and more; left out: 64MiB, or a sixteenth of the control group's memory if that is less."},
		schema.Field{Name: "batch", Default: 1000, Value: schema.Integer(1, 100_000), Doc: "Events of a batch."},
		schema.Field{Name: "depth", Default: 64, Value: schema.Integer(1, 1000), Doc: "Nesting of JSON data."},
		schema.Field{
			Name: "deliveries_per_event", Default: 1000, Value: schema.Integer(1, 1_000_000),
			Doc: "Above it the event is accepted and its fan-out held for a person.",
		},
		schema.Field{Name: "hops", Default: 8, Value: schema.Integer(1, 255), Doc: "How many actions an event may have come through."},
		schema.Field{Name: "connections", Default: 4096, Value: schema.Integer(16, 1_000_000), Doc: "Open connections of listen."},
	)
}

func tlsSchema() schema.Schema {
	return schema.Object(
		schema.Field{Name: "cert", Required: true, Value: schema.Text(""), Doc: "A PEM file with the certificate."},
		schema.Field{Name: "key", Required: true, Value: schema.Text(""), Doc: "A PEM file with its key."},
		schema.Field{Name: "client_ca", Value: schema.Text(""), Doc: "A PEM file; clients must then show a certificate signed by it."},
	)
}

// when makes a schema hold where a key has a value.
func when(key, value string, then schema.Schema) schema.Schema {
	return schema.Schema{
		"if":   schema.Schema{"properties": schema.Schema{key: schema.Schema{"const": value}}, "required": []string{key}},
		"then": then,
	}
}

func actionSchema(settings map[string]json.RawMessage) (schema.Schema, error) {
	plugins := slices.Sorted(maps.Keys(settings))
	s := schema.Object(
		schema.Field{Name: "name", Required: true, Value: nameText(), Doc: "What rules call it."},
		schema.Field{
			Name: "plugin", Required: true, Value: schema.OneOf(schema.Word(plugins...), schema.Text("/")),
			Doc: "A bundled plugin, or the path of an executable: a path has a slash.",
		},
		schema.Field{
			Name: "sha256", Value: schema.Text(`^[0-9a-fA-F]{64}$`),
			Doc: "What the executable must hash to: the output of sha256sum. Required with a path.",
		},
		schema.Field{Name: "mtls", Default: true, Value: schema.Boolean(), Doc: "Secures the connection to an executable."},
		schema.Field{Name: "settings", Value: schema.Mapping(), Doc: "Handed to the plugin, and checked against what it says it takes."},
		schema.Field{Name: "concurrency", Default: 4, Value: schema.Integer(1, 10_000), Doc: "Attempts at once."},
		schema.Field{Name: "timeout", Default: "30s", Value: schema.Duration(), Doc: "Of one attempt; 1ms to 30d."},
		schema.Field{Name: "retry", Value: retrySchema(), Doc: "How often and how long a delivery is tried."},
		schema.Field{
			Name: "on_uncertain", Default: "retry", Value: schema.Word("retry", "hold"),
			Doc: "An attempt whose outcome a crash swallowed is run again, or held for a person.",
		},
		schema.Field{Name: "dry_run", Default: false, Value: schema.Boolean(), Doc: "Asks the plugin to change nothing."},
		schema.Field{
			Name: "overlap", Default: "allow", Value: schema.Word("allow", "queue", "skip"),
			Doc: "What becomes of a call while an earlier one of the same rule, step and key is not finished; a step may say otherwise.",
		},
		schema.Field{Name: "limits", Value: pluginLimitsSchema(), Doc: "What the plugin may use, with all it starts; none by default."},
		schema.Field{
			Name: "user", Value: schema.Text(""),
			Doc: "The user that the plugin runs as, in place of the router's own. It must exist, and the router must run as root.",
		},
	)
	forms := []schema.Schema{{
		"if":   schema.Schema{"properties": schema.Schema{"plugin": schema.Schema{"pattern": "/"}}, "required": []string{"plugin"}},
		"then": schema.Schema{"required": []string{"sha256"}},
	}}
	for _, name := range plugins {
		takes := schema.Schema{"type": "object", "maxProperties": 0}
		if len(settings[name]) > 0 {
			var err error
			if takes, err = schema.Parse(settings[name]); err != nil {
				return nil, fmt.Errorf("plugin %s: %w", name, err)
			}
		}
		then := schema.Schema{"properties": schema.Schema{"settings": takes, "sha256": false, "mtls": false}}
		if takes["required"] != nil {
			then["required"] = []string{"settings"}
		}
		forms = append(forms, when("plugin", name, then))
	}
	s["allOf"] = forms
	return s, nil
}

func pluginLimitsSchema() schema.Schema {
	return schema.Object(
		schema.Field{Name: "memory", Value: schema.Size(), Doc: "Memory; 16MiB to 1PiB."},
		schema.Field{Name: "files", Value: schema.Integer(16, 1<<20), Doc: "Files that each process may have open."},
		schema.Field{Name: "processes", Value: schema.Integer(16, 1<<20), Doc: "Processes and threads. A plugin in Go needs about 20."},
		schema.Field{Name: "cpu", Value: schema.Text("^[1-9][0-9]{0,5}%$"), Doc: "A share of one processor, such as 50%; 1% to 100000%."},
		schema.Field{Name: "cpu_time", Value: schema.Duration(), Doc: "Processor time of each process, after which it is killed; 1s to 366d."},
	)
}

func retrySchema() schema.Schema {
	return schema.Object(
		schema.Field{Name: "attempts", Default: 200, Value: schema.Integer(1, 1_000_000), Doc: "Attempts, the first included."},
		schema.Field{Name: "max_age", Default: "24h", Value: schema.Duration(), Doc: "Age at which a delivery is given up; 1s to 366d."},
		schema.Field{Name: "min", Default: "1s", Value: schema.Duration(), Doc: "The delay is random up to this, doubled for each attempt."},
		schema.Field{Name: "max", Default: "15m", Value: schema.Duration(), Doc: "The delay is never longer."},
	)
}
