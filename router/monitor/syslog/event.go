package syslog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
	"unicode/utf8"

	"github.com/pointsman/pointsman/rules"
)

// EventType is the type of the events that are made of lines.
const EventType = "net.syslog.message"

// LossType is the type of the event that tells of lines that were lost.
const LossType = "pointsman.source.loss"

// maxRaw is how much of a line an event repeats in data.raw, in bytes.
const maxRaw = 8 << 10

// line is one line as it was received.
type line struct {
	text []byte
	// cut: the line was longer, or its end never came.
	cut      bool
	peer     netip.Addr
	received time.Time
}

// data is the data of an event. Empty members are left out, but for those that
// every line has.
type data struct {
	Host           string                       `json:"host"`
	Peer           string                       `json:"peer"`
	Facility       int                          `json:"facility"`
	FacilityName   string                       `json:"facility_name"`
	Severity       int                          `json:"severity"`
	SeverityName   string                       `json:"severity_name"`
	App            string                       `json:"app,omitempty"`
	ProcID         string                       `json:"procid,omitempty"`
	MsgID          string                       `json:"msgid,omitempty"`
	Sequence       string                       `json:"sequence,omitempty"`
	Node           string                       `json:"node,omitempty"`
	Mnemonic       string                       `json:"mnemonic,omitempty"`
	StructuredData map[string]map[string]string `json:"structured_data,omitempty"`
	Fields         map[string]string            `json:"fields,omitempty"`
	Message        string                       `json:"message"`
	Raw            string                       `json:"raw"`
	Truncated      bool                         `json:"truncated,omitempty"`
	Dialect        Dialect                      `json:"dialect"`
	Clock          Clock                        `json:"clock,omitempty"`
	Received       string                       `json:"received"`
}

// event makes the event of a line. id must be one that no other line has.
func (s *Source) event(l line, id string) (*rules.Event, error) {
	m := Parse(l.text, l.peer, l.received, s.cfg.Zone)
	raw := clip(m.Raw, maxRaw)
	body, err := encode(data{
		Host: m.Host, Peer: l.peer.String(),
		Facility: m.Facility, FacilityName: facilityName(m.Facility),
		Severity: m.Severity, SeverityName: severityName(m.Severity),
		App: m.App, ProcID: m.ProcID, MsgID: m.MsgID, Sequence: m.Sequence, Node: m.Node, Mnemonic: m.Mnemonic,
		StructuredData: m.StructuredData, Fields: m.Fields, Message: m.Text,
		Raw: raw, Truncated: l.cut, Dialect: m.Dialect, Clock: m.Clock,
		Received: l.received.UTC().Format(time.RFC3339Nano),
	})
	if err != nil {
		return nil, err
	}
	return rules.NewEvent(rules.Attributes{
		ID: id, Source: s.uri(), Type: EventType, Subject: m.Host,
		Time:            m.Time.Format(time.RFC3339Nano),
		DataContentType: "application/json",
		Extensions: map[string]any{
			"severitytext": severityName(m.Severity), "severitynumber": severityNumber(m.Severity),
		},
	}, body, rules.Limits{})
}

// loss is the data of an event of LossType.
type loss struct {
	Source string `json:"source"`
	// Lost is how many lines were lost between Since and Until: dropped by
	// pointsman because its queue was full, by the kernel because pointsman did
	// not read them in time.
	Lost   int64  `json:"lost"`
	Queue  int64  `json:"queue"`
	Kernel int64  `json:"kernel"`
	Since  string `json:"since"`
	Until  string `json:"until"`
}

func (s *Source) lossEvent(l loss, id string, now time.Time) (*rules.Event, error) {
	body, err := encode(l)
	if err != nil {
		return nil, err
	}
	return rules.NewEvent(rules.Attributes{
		ID: id, Source: s.uri(), Type: LossType, Subject: s.cfg.Name,
		Time: now.UTC().Format(time.RFC3339Nano), DataContentType: "application/json",
		Extensions: map[string]any{"severitytext": severityName(4), "severitynumber": severityNumber(4)},
	}, body, rules.Limits{})
}

// uri is the source attribute of all events. Names are safe in it: the
// configuration sees to that.
func (s *Source) uri() string { return "pointsman:/sources/" + s.cfg.Name }

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("event data: %w", err)
	}
	return b.Bytes(), nil
}

// clip cuts a text at the end of a character.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
