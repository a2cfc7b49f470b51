package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

// maxInput limits what send and why read, in bytes.
const maxInput = 64 << 20

// eventFlags build an event.
type eventFlags struct {
	typ, source, subject, id, data string
}

func (a *app) sendCmd() *cobra.Command {
	var f eventFlags
	cmd := &cobra.Command{
		Use:   "send [FILE|-]",
		Short: "Send events to the router",
		Long: "Send events to the router: a CloudEvent in JSON, or an array of them, from FILE or standard input,\n" +
			"or one event made of the flags. An event without id gets a fresh one. --url (or POINTSMAN_URL) is\n" +
			"here the base URL of the events listener. Exits 1 when an event is refused or in conflict.",
		Example: "  pointsman send event.json\n" +
			"  pointsman send --type net.link.down --source sw1 --data '{\"interface\": \"eth1\"}'",
		Args: cobra.MaximumNArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			flags := f != eventFlags{}
			if flags && len(args) > 0 {
				return exitf(exitUsage, "give either a file or the flags of an event, not both")
			}
			text, err := a.eventInput(&f, flags, args)
			if err != nil {
				return err
			}
			return a.send(cmd.Context(), text)
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&f.typ, "type", "", "type `attribute`")
	fs.StringVar(&f.source, "source", "", "source `attribute` (default pointsman/send)")
	fs.StringVar(&f.subject, "subject", "", "subject `attribute`")
	fs.StringVar(&f.id, "id", "", "id `attribute` (default a fresh UUID)")
	fs.StringVar(&f.data, "data", "", "data of the event, as `JSON`")
	return cmd
}

func (a *app) eventInput(f *eventFlags, flags bool, args []string) ([]byte, error) {
	if flags {
		return f.event()
	}
	if len(args) == 0 {
		if a.terminal(a.stdin) {
			return nil, exitf(exitUsage, "name a file, - for standard input, or describe the event with --type")
		}
		args = []string{"-"}
	}
	text, err := a.readInput(args[0])
	if err != nil {
		return nil, err
	}
	text, err = complete(text)
	if err != nil {
		return nil, about("event", args[0], err)
	}
	return text, nil
}

func (f *eventFlags) event() ([]byte, error) {
	if f.typ == "" {
		return nil, exitf(exitUsage, "--type is missing")
	}
	if f.data != "" && !json.Valid([]byte(f.data)) {
		return nil, exitf(exitUsage, "--data is not JSON (quote a text: --data '\"text\"')")
	}
	ev := struct {
		SpecVersion string          `json:"specversion"`
		ID          string          `json:"id"`
		Source      string          `json:"source"`
		Type        string          `json:"type"`
		Subject     string          `json:"subject,omitempty"`
		Data        json.RawMessage `json:"data,omitempty"`
	}{
		SpecVersion: "1.0", ID: first(f.id, uuid.NewString()), Source: first(f.source, "pointsman/send"),
		Type: f.typ, Subject: f.subject, Data: json.RawMessage(f.data),
	}
	text, err := json.Marshal(ev)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return text, nil
}

// readInput reads a file, or standard input for "-".
func (a *app) readInput(name string) ([]byte, error) {
	in := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read event: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	if len(text) > maxInput {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxInput)
	}
	return text, nil
}

// complete adds a fresh id to each event that has none and leaves everything
// else as it is written; the router judges it.
func complete(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return nil, errors.New("there is no event: the input is empty")
	}
	if text[0] != '[' {
		return completeOne(text)
	}
	var events []json.RawMessage
	if err := json.Unmarshal(text, &events); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	for i := range events {
		var err error
		if events[i], err = completeOne(events[i]); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
	}
	// Not Marshal, which would rewrite the events.
	return fmt.Appendf(nil, "[%s]", bytes.Join(rawBytes(events), []byte(","))), nil
}

func rawBytes(in []json.RawMessage) [][]byte {
	out := make([][]byte, len(in))
	for i := range in {
		out[i] = in[i]
	}
	return out
}

func completeOne(text []byte) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	if _, ok := members["id"]; ok || members == nil {
		return text, nil
	}
	comma := ","
	if len(members) == 0 {
		comma = ""
	}
	return fmt.Appendf(nil, "{\"id\":%q%s%s", uuid.NewString(), comma, text[1:]), nil
}

// sent is the router's answer for one event.
type sent struct {
	ID        string `json:"id"`
	Source    string `json:"source"`
	Duplicate bool   `json:"duplicate"`
	// Code says why an event of a batch was not accepted.
	Code string `json:"code"`
}

func (a *app) send(ctx context.Context, text []byte) error {
	base, token, err := a.eventsTarget()
	if err != nil {
		return err
	}
	c := a.newClient(base, token, "--url or POINTSMAN_URL choose another")
	c.hops = a.env("POINTSMAN_HOPS")
	path := "/events"
	if strings.HasSuffix(base, path) {
		path = ""
	}
	contentType, batch := "application/cloudevents+json", text[0] == '['
	if batch {
		contentType = "application/cloudevents-batch+json"
	}
	var raw json.RawMessage
	if err := c.call(ctx, http.MethodPost, path, contentType, text, &raw); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	answers := make([]sent, 1)
	if batch {
		err = json.Unmarshal(raw, &answers)
	} else {
		err = json.Unmarshal(raw, &answers[0])
	}
	if err != nil {
		return exitf(exitCannotRun, "%s does not answer like a router: %w", base, err)
	}
	return a.reportSent(raw, answers)
}

func (a *app) reportSent(raw json.RawMessage, answers []sent) error {
	t := &table{heading: []string{"ID", "SOURCE", "RESULT"}}
	failed := 0
	for _, s := range answers {
		result := "accepted"
		switch {
		case s.Code != "":
			result = s.Code
			failed++
		case s.Duplicate:
			result = "duplicate"
		}
		t.add(s.ID, s.Source, result)
	}
	var err error
	if a.json() {
		err = a.printJSON(raw)
	} else {
		err = t.write(a.stdout)
	}
	if err == nil && failed > 0 {
		err = exitf(exitFindings, "%d of %d events were not accepted", failed, len(answers))
	}
	return err
}
