// Command wake is a pointsman plugin that sends Wake-on-LAN packets.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"

	"github.com/pointsman/pointsman/actions"
)

func main() { actions.Serve(&wake{}) }

type wake struct {
	broadcast string
}

func (w *wake) Describe() actions.Description {
	return actions.Description{
		Name:    "wake",
		Version: "1.0.0",
		Summary: "Wake a machine by its MAC address.",
		SettingsSchema: json.RawMessage(`{
			"type": "object", "additionalProperties": false, "required": ["broadcast"],
			"properties": {"broadcast": {"type": "string", "description": "address and port, such as 10.0.0.255:9"}}
		}`),
		ParamsSchema: json.RawMessage(`{
			"type": "object", "additionalProperties": false, "required": ["mac"],
			"properties": {"mac": {"type": "string"}}
		}`),
		Idempotency: actions.IdempotentNatural,
		DryRun:      true,
	}
}

func (w *wake) Configure(_ context.Context, s actions.Settings) error {
	var set struct {
		Broadcast string `json:"broadcast"`
	}
	if err := s.Decode(&set); err != nil {
		return err
	}
	w.broadcast = set.Broadcast
	return nil
}

func (w *wake) Run(ctx context.Context, req *actions.Request) (*actions.Result, error) {
	var p struct {
		MAC string `json:"mac"`
	}
	if err := req.Decode(&p); err != nil {
		return nil, actions.Permanent(err)
	}
	mac, err := net.ParseMAC(p.MAC)
	if err != nil {
		return nil, actions.Permanent(err) // no retry makes it an address
	}
	if req.DryRun {
		return &actions.Result{Output: "would wake " + p.MAC}, nil
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", w.broadcast)
	if err != nil {
		return nil, err // tried again
	}
	defer conn.Close()
	packet := append(bytes.Repeat([]byte{0xff}, 6), bytes.Repeat(mac, 16)...)
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	return &actions.Result{Output: fmt.Sprintf("woke %s for %s", p.MAC, req.EventID)}, nil
}
