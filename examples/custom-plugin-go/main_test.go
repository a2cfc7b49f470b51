package main

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/actiontest"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

func TestConformance(t *testing.T) {
	actiontest.Run(t, func() actions.Action { return &wake{} }, actiontest.Options{
		Settings:  json.RawMessage(`{"broadcast": "127.0.0.1:9"}`),
		Params:    json.RawMessage(`{"mac": "02:00:00:00:00:01"}`),
		Permanent: json.RawMessage(`{"mac": "nonsense"}`),
	})
}

func TestBadAddressIsPermanent(t *testing.T) {
	h := actiontest.Start(t, &wake{}, actions.Settings{JSON: []byte(`{"broadcast": "127.0.0.1:9"}`)})
	r := h.Run(t.Context(), `{"mac": "nonsense"}`)
	if r.GetStatus() != actionv1.Status_STATUS_PERMANENT {
		t.Errorf("got %v", r)
	}
}

// A machine wakes from six bytes of ff and sixteen times its address.
func TestPacket(t *testing.T) {
	machine, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	settings, err := json.Marshal(map[string]string{"broadcast": machine.LocalAddr().String()})
	if err != nil {
		t.Fatal(err)
	}
	h := actiontest.Start(t, &wake{}, actions.Settings{JSON: settings})
	if r := h.Run(t.Context(), `{"mac": "02:00:00:00:00:01"}`); r.GetOutput() != "woke 02:00:00:00:00:01 for event-1" {
		t.Fatalf("got %v", r)
	}
	got := make([]byte, 200)
	n, _, err := machine.ReadFrom(got)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("\xff", 6) + strings.Repeat("\x02\x00\x00\x00\x00\x01", 16)
	if string(got[:n]) != want {
		t.Errorf("packet %x", got[:n])
	}
}
