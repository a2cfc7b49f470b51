package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
)

func (a *app) sourcesCaptureCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "capture NAME",
		Short: "Show the last requests to a webhook source, and what became of them",
		Long: "Show the last requests that a webhook source was sent, newest first: the headers, the body, and the\n" +
			"events they became or the problem they were refused with. The router keeps the last 10 in memory (and\n" +
			"3 of senders who did not prove themselves, without their bodies), with at most 64 KiB of a body.\n" +
			"What may be a secret is shown as ***. -o json writes what `pointsman sources test` reads.",
		Example: "  pointsman sources capture netbox\n  pointsman sources capture netbox -o json > requests.json",
		Args:    cobra.ExactArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			c, err := a.admin()
			if err != nil {
				return err
			}
			var page admin.Captures
			if err := c.get(cmd.Context(), api("sources", args[0], "captures"), nil, &page); err != nil {
				return about("source", args[0], err)
			}
			if a.json() {
				return a.printJSON(page.Captures)
			}
			if len(page.Captures) == 0 {
				fmt.Fprintf(a.stderr, "nothing was sent to %s since the router started\n", args[0])
			}
			b := &strings.Builder{}
			for i, e := range page.Captures {
				if i > 0 {
					b.WriteString("\n")
				}
				writeCapture(b, &e)
			}
			return a.print([]byte(b.String()))
		}),
	}
}

// writeCapture writes one request for people.
func writeCapture(b *strings.Builder, c *router.Capture) {
	field(b, "received", when(c.Received))
	field(b, "answer", strings.TrimSpace(strconv.Itoa(c.Status)+" "+c.Code))
	if c.Detail != "" {
		field(b, "problem", c.Detail)
	}
	size := counted(c.Size, "byte")
	if c.Truncated {
		size += ", the beginning is shown"
	}
	field(b, "body", size)
	block(b, "headers", pairs(c.Headers))
	block(b, "query", pairs(c.Query))
	block(b, "request", bodyText(c.Body))
	for i, ev := range c.Events {
		block(b, "event "+strconv.Itoa(i+1), indented(ev))
	}
	if c.EventsLeftOut > 0 {
		block(b, "more", counted(c.EventsLeftOut, "event")+" left out (see `pointsman events list`)")
	}
}

func pairs(m map[string]string) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, name+": "+m[name])
	}
	return strings.Join(lines, "\n")
}

func bodyText(body string) string {
	if json.Valid([]byte(body)) {
		return indented(json.RawMessage(body))
	}
	return body
}
