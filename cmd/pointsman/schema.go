package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/scenario"
)

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "schema config|rules|tests",
		Short: "Print the JSON Schema of a file, for editors",
		Long: "Print the JSON Schema (draft 2020-12) of pointsman.yaml (config), of rule files (rules) or of the tests of\n" +
			"rules (tests). An editor that knows it completes keys, shows what they mean, and marks mistakes.",
		Example: "  pointsman schema config >pointsman.schema.json\n  pointsman schema rules >rules.schema.json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("name one of config, rules and tests")
			}
			return nil
		},
		ValidArgs: []string{"config", "rules", "tests"},
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := schemaOf(args[0])
			if err != nil {
				return err
			}
			return a.printf("%s", text)
		},
	}
}

func schemaOf(file string) ([]byte, error) {
	switch file {
	case "config":
		settings := make(map[string]json.RawMessage)
		for name, d := range bundledDescriptions() {
			settings[name] = d.SettingsSchema
		}
		return config.Schema(settings)
	case "rules":
		return rules.Schema()
	case "tests":
		return scenario.Schema()
	}
	return nil, fmt.Errorf("there is no schema %q (known: config, rules, tests)", file)
}
