package snmptrap

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/gosnmp/gosnmp"

	"github.com/pointsman/pointsman/rules"
)

// Types of events.
const (
	typeTrap = "snmp.trap"
	typeLoss = "pointsman.source.loss"
)

// Well-known variables, with their index (RFC 3418).
const (
	oidUpTime   = "1.3.6.1.2.1.1.3.0"
	oidTrap     = "1.3.6.1.6.3.1.1.4.1.0"
	oidAgent    = "1.3.6.1.6.3.18.1.3.0"
	oidSecret   = "1.3.6.1.6.3.18.1.4.0"
	genericTrap = "1.3.6.1.6.3.1.1.5."
)

// maxVariables bounds what an event keeps of a message.
const maxVariables = 1000

// trapData is the data of an event.
type trapData struct {
	// Agent is who the trap is about: what the message says, or who sent it.
	Agent   string `json:"agent"`
	Peer    string `json:"peer"`
	Version string `json:"version"`
	Inform  bool   `json:"inform"`
	// OID and Name of the trap; Name is null where no table has it.
	OID  string  `json:"oid"`
	Name *string `json:"name"`
	// Uptime of the agent in seconds.
	Uptime     *float64 `json:"uptime,omitempty"`
	Enterprise string   `json:"enterprise,omitempty"`
	User       string   `json:"user,omitempty"`
	EngineID   string   `json:"engine_id,omitempty"`
	Context    string   `json:"context,omitempty"`
	// Values are the variables by name, or by object identifier without one; the
	// first where there are several.
	Values    map[string]any `json:"values"`
	Variables []variable     `json:"variables"`
	// Cut: there were more variables.
	Cut bool `json:"cut,omitempty"`
}

type variable struct {
	OID   string  `json:"oid"`
	Name  *string `json:"name"`
	Index string  `json:"index,omitempty"`
	Type  string  `json:"type"`
	Value any     `json:"value"`
}

// event makes the event of a message.
func (s *Source) event(p *gosnmp.SnmpPacket, d message) (*rules.Event, error) {
	data := trapData{
		Peer: d.from.Addr().String(), Version: p.Version.String(), Inform: p.PDUType == gosnmp.InformRequest,
		Values: make(map[string]any), Variables: []variable{},
	}
	data.Agent = data.Peer
	if p.Version == gosnmp.Version1 {
		s.fromV1(&data, p)
	}
	for _, v := range p.Variables {
		s.addVariable(&data, v)
	}
	if data.OID == "" {
		return nil, fmt.Errorf("the message does not say which trap it is (snmpTrapOID)")
	}
	if name, index := s.nameOf(data.OID); name != "" && index == "" {
		data.Name = &name
	}
	if sp, ok := p.SecurityParameters.(*gosnmp.UsmSecurityParameters); ok && p.Version == gosnmp.Version3 {
		data.User, data.Context = sp.UserName, text([]byte(p.ContextName))
		data.EngineID = hex.EncodeToString([]byte(sp.AuthoritativeEngineID))
	}
	body, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	return rules.NewEvent(rules.Attributes{
		ID: id(p, d, body), Source: deviceURI(data.Agent), Type: typeTrap, Subject: data.Agent,
		Time: d.at.UTC().Format(time.RFC3339Nano), DataContentType: "application/json",
	}, body, rules.Limits{})
}

// fromV1 translates the header of a v1 trap (RFC 3584, section 3.1).
func (s *Source) fromV1(data *trapData, p *gosnmp.SnmpPacket) {
	data.Enterprise = strings.TrimPrefix(p.Enterprise, ".")
	if p.GenericTrap >= 0 && p.GenericTrap <= 5 {
		data.OID = genericTrap + strconv.Itoa(p.GenericTrap+1)
	} else {
		data.OID = data.Enterprise + ".0." + strconv.Itoa(p.SpecificTrap)
	}
	if a, err := netip.ParseAddr(p.AgentAddress); err == nil && !a.IsUnspecified() {
		data.Agent = a.String()
	}
	up := float64(p.Timestamp) / 100
	data.Uptime = &up
}

func (s *Source) addVariable(data *trapData, v gosnmp.SnmpPDU) {
	oid := strings.TrimPrefix(v.Name, ".")
	kind, value := s.value(v)
	switch oid {
	case oidUpTime:
		if ticks, ok := value.(uint64); ok {
			up := float64(ticks) / 100
			data.Uptime = &up
		}
		return
	case oidTrap:
		if o, ok := value.(string); ok {
			data.OID = o
		}
		return
	case oidAgent:
		if a, ok := value.(string); ok && a != "0.0.0.0" && a != "" {
			data.Agent = a
		}
	case oidSecret:
		return // a community is a secret
	}
	if len(data.Variables) == maxVariables {
		data.Cut = true
		return
	}
	out := variable{OID: oid, Type: kind, Value: value}
	key := oid
	if name, index := s.nameOf(oid); name != "" {
		out.Name, out.Index, key = &name, index, name
	}
	if _, taken := data.Values[key]; !taken {
		data.Values[key] = value
	}
	data.Variables = append(data.Variables, out)
}

// value is a variable's type and value as JSON has it: numbers stay exact, text is
// text, other octets are hexadecimal after 0x.
func (s *Source) value(v gosnmp.SnmpPDU) (kind string, value any) {
	switch x := v.Value.(type) {
	case []byte:
		return "octets", text(x)
	case string:
		if v.Type == gosnmp.ObjectIdentifier {
			return "oid", strings.TrimPrefix(x, ".")
		}
		return "address", x
	case float32, float64:
		return "float", fmt.Sprint(x) // as text: it may be no finite number
	case nil:
		return "null", nil
	}
	switch v.Type {
	case gosnmp.Integer:
		return "integer", gosnmp.ToBigInt(v.Value).Int64()
	case gosnmp.TimeTicks:
		return "ticks", gosnmp.ToBigInt(v.Value).Uint64()
	case gosnmp.Counter32, gosnmp.Counter64:
		return "counter", gosnmp.ToBigInt(v.Value).Uint64()
	case gosnmp.Gauge32, gosnmp.Uinteger32:
		return "gauge", gosnmp.ToBigInt(v.Value).Uint64()
	}
	return "other", fmt.Sprint(v.Value)
}

// text is octets as text where they are some, without the NULs that devices pad
// with.
func text(b []byte) string {
	trimmed := strings.TrimRight(string(b), "\x00")
	if !utf8.ValidString(trimmed) {
		return "0x" + hex.EncodeToString(b)
	}
	for _, c := range trimmed {
		if !unicode.IsPrint(c) && c != '\t' && c != '\n' && c != '\r' {
			return "0x" + hex.EncodeToString(b)
		}
	}
	return trimmed
}

// deviceURI is the source attribute of an agent's events.
func deviceURI(agent string) string {
	if a, err := netip.ParseAddr(agent); err == nil && a.Is6() {
		return "snmp://[" + a.WithZone("").String() + "]"
	}
	return "snmp://" + agent
}

// id names a message. What a sender repeats because it saw no answer (an inform),
// and what anyone else could repeat (v3), has the id of the first; any other trap
// has one of its own, as two of them may be equal.
func id(p *gosnmp.SnmpPacket, d message, body []byte) string {
	sp, isV3 := p.SecurityParameters.(*gosnmp.UsmSecurityParameters)
	isV3 = isV3 && p.Version == gosnmp.Version3
	if !isV3 && p.PDUType != gosnmp.InformRequest {
		return uuid.NewString()
	}
	h := sha256.New()
	if isV3 {
		_, _ = h.Write(stamp(sp, p.RequestID)) // a hash takes everything
	} else {
		_, _ = h.Write([]byte(d.from.String()))
		_, _ = h.Write(binary.BigEndian.AppendUint32(nil, p.RequestID))
	}
	_, _ = h.Write(body)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// lossEvent tells of messages that made no event for want of room.
func lossEvent(source string, n uint64, now time.Time) (*rules.Event, error) {
	body, err := json.Marshal(struct {
		Source string `json:"source"`
		Lost   uint64 `json:"lost"`
		Reason string `json:"reason"`
	}{source, n, "messages came faster than they could be stored"})
	if err != nil {
		return nil, err
	}
	return rules.NewEvent(rules.Attributes{
		ID: uuid.NewString(), Source: "pointsman:/sources/" + source, Type: typeLoss, Subject: source,
		Time: now.UTC().Format(time.RFC3339Nano), DataContentType: "application/json",
	}, body, rules.Limits{})
}
