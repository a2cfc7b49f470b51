package scenario

import "github.com/pointsman/pointsman/rules/schema"

// Schema returns the JSON Schema of the files with tests of rules.
func Schema() ([]byte, error) {
	expect := schema.Object(
		schema.Field{Name: "rule", Required: true, Value: schema.Text(""), Doc: "The name of the rule that calls."},
		schema.Field{Name: "action", Value: schema.Text(""), Doc: "The action that is called; left out for a when or key that fails."},
		schema.Field{Name: "with", Value: schema.Anything(), Doc: "The parameters; left out: any are right."},
		schema.Field{Name: "error", Value: schema.Text(""), Doc: "A part of the message of what fails."},
	)
	expect["anyOf"] = []schema.Schema{{"required": []string{"action"}}, {"required": []string{"error"}}}
	step := schema.Object(
		schema.Field{
			Name: "at", Value: schema.Duration(),
			Doc: "The virtual time since the test began, such as 10m; left out: that of the step before.",
		},
		schema.Field{Name: "event", Required: true, Value: event(), Doc: "The event that comes in."},
		schema.Field{Name: "expect", Required: true, Value: schema.List(expect), Doc: "Every call it causes, in the order of the rules and of their do."},
	)
	test := schema.Object(
		schema.Field{Name: "name", Required: true, Value: schema.Text(""), Doc: "What the test shows."},
		schema.Field{Name: "steps", Required: true, Value: schema.List(step), Doc: "The events, in the order of time."},
	)
	root := schema.Object(schema.Field{
		Name: "tests", Required: true, Value: schema.List(test), Doc: "The tests; each begins with no state.",
	})
	return schema.Document("pointsman rule tests", "Tests of rules: events in, the calls they should cause out.", root)
}

// event has any extension attributes.
func event() schema.Schema {
	text := schema.Text("")
	s := schema.Object(
		schema.Field{Name: "specversion", Value: schema.Word("1.0"), Default: "1.0", Doc: "The version of CloudEvents."},
		schema.Field{Name: "type", Required: true, Value: text, Doc: "The type, such as net.link.down."},
		schema.Field{Name: "source", Value: text, Default: "test", Doc: "Where the event happened."},
		schema.Field{Name: "id", Value: text, Doc: "The id; left out: a fresh one."},
		schema.Field{Name: "subject", Value: text, Doc: "What it is about."},
		schema.Field{Name: "time", Value: text, Doc: "When it happened (RFC 3339)."},
		schema.Field{Name: "datacontenttype", Value: text, Doc: "The media type of the data."},
		schema.Field{Name: "dataschema", Value: text, Doc: "The URI of the schema of the data."},
		schema.Field{Name: "data", Value: schema.Anything(), Doc: "The data."},
		schema.Field{Name: "data_base64", Value: text, Doc: "Binary data in base64, instead of data."},
	)
	s["additionalProperties"] = schema.Schema{"type": []string{"string", "boolean", "integer", "null"}}
	s["propertyNames"] = schema.Schema{"pattern": "^[a-z0-9]+$|^data_base64$"}
	return s
}
