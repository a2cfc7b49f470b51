package rules

import "github.com/pointsman/pointsman/rules/schema"

// Schema returns the JSON Schema of rule files.
func Schema() ([]byte, error) {
	step := schema.Object(
		schema.Field{Name: "action", Doc: "The name of a configured action.", Required: true, Value: schema.Text("")},
		schema.Field{Name: "if", Doc: "An expression: the step is skipped when it is false.", Value: schema.Expression()},
		schema.Field{Name: "with", Doc: "The parameters, any value. ${{ expression }} in its texts is replaced.", Value: schema.Anything()},
		schema.Field{
			Name: "overlap", Default: overlapAllow, Value: schema.Word(overlapAllow, overlapQueue, overlapSkip),
			Doc: "What happens while an earlier delivery of this step and key is not finished: allow runs beside it, queue waits for it, skip does not run.",
		},
	)
	rule := schema.Object(
		schema.Field{
			Name: "name", Required: true, Value: schema.Text(validName.String()),
			Doc: "Unique over all files: 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit.",
		},
		schema.Field{
			Name: "when", Required: true, Value: schema.Expression(),
			Doc: `An expression: the condition, such as event.type == "net.link.down" and event.data.role == "access".`,
		},
		schema.Field{
			Name: "key", Value: schema.Expression(),
			Doc: "An expression: what once, ordered and overlap count by, such as event.source.",
		},
		schema.Field{
			Name: "once", Value: schema.Duration(),
			Doc: "How long the rule is quiet for one key after it fired: 30s, 10m, 24h or 7d.",
		},
		schema.Field{
			Name: "dry_run", Default: false, Value: schema.Boolean(),
			Doc: "Everything is decided and recorded, and no action runs.",
		},
		schema.Field{
			Name: "ordered", Default: false, Value: schema.Boolean(),
			Doc: "One delivery of a key runs at a time, in the order of acceptance; a retry delays its own key only.",
		},
		schema.Field{
			Name: "do", Required: true, Value: schema.NonEmpty(schema.List(step)),
			Doc: "The steps, at least one. Each becomes a delivery of its own.",
		},
	)
	rules := schema.List(rule)
	rules["type"] = []string{"array", "null"}
	root := schema.Object(schema.Field{Name: "rules", Doc: "The rules, in the order in which they are asked.", Value: rules})
	root["type"] = []string{"object", "null"}
	return schema.Document("pointsman rules", "A rule file of pointsman: which events call for which actions.", root)
}
