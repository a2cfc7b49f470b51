package snmptrap

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/store"
)

// Reports of the User-based Security Model (RFC 3414, section 5).
const (
	statsNotInTimeWindows = ".1.3.6.1.6.3.15.1.1.2.0"
	statsUnknownEngineIDs = ".1.3.6.1.6.3.15.1.1.4.0"
)

const (
	// window is how far a clock may be off, in seconds (RFC 3414, section 3.2).
	window = 150
	// maxEngines bounds how many senders' clocks are remembered.
	maxEngines = 10_000
	// maxBoots is where the counter of starts stays (RFC 3414, section 2.2.2).
	maxBoots = 1<<31 - 1
	// bootsKey is the state in which our starts are counted.
	bootsKey = "boots"
)

// refusal is why a message makes no event.
type refusal struct {
	reason string
	text   string
}

func (r *refusal) Error() string { return r.text }

// usm checks who sent a message. It is safe for concurrent use.
type usm struct {
	community []byte // nil: v1 and v2c are not taken
	users     map[string]config.SNMPUser
	table     *gosnmp.SnmpV3SecurityParametersTable
	engineID  string
	boots     uint32
	started   time.Time

	mu      sync.Mutex
	engines map[string]engineClock // of senders of traps, by engine id
	unknown uint32
	late    uint32
	wasted  int // messages whose keys had to be made and that proved nothing
}

// engineClock is the latest a sender's engine said in a message that was
// authentic (RFC 3414, section 2.3).
type engineClock struct {
	boots, time uint32
	at          time.Time
}

func newUSM(routerName, source string, cfg *config.SNMPTrap) (*usm, error) {
	u := &usm{users: make(map[string]config.SNMPUser), engineID: string(cfg.EngineID), engines: make(map[string]engineClock)}
	if c := cfg.Community.Reveal(); c != "" {
		u.community = []byte(c)
	}
	if u.engineID == "" {
		// RFC 3411, SnmpEngineID: the reserved enterprise number and eight octets of
		// our own choice, the same after each start.
		sum := sha256.Sum256([]byte(routerName + "\x00" + source))
		u.engineID = "\x80\x00\x00\x00\x05" + string(sum[:8])
	}
	u.table = gosnmp.NewSnmpV3SecurityParametersTable(gosnmp.Logger{})
	for _, user := range cfg.Users {
		u.users[user.Name] = user
		p := &gosnmp.UsmSecurityParameters{
			UserName:               user.Name,
			AuthenticationProtocol: authProtocol(user.Auth), AuthenticationPassphrase: user.AuthPassphrase.Reveal(),
			PrivacyProtocol: privProtocol(user.Priv), PrivacyPassphrase: user.PrivPassphrase.Reveal(),
		}
		if err := u.table.Add(user.Name, p); err != nil {
			return nil, fmt.Errorf("user %q: %w", user.Name, err)
		}
	}
	return u, nil
}

func authProtocol(name string) gosnmp.SnmpV3AuthProtocol {
	switch name {
	case "md5":
		return gosnmp.MD5
	case "sha":
		return gosnmp.SHA
	case "sha224":
		return gosnmp.SHA224
	case "sha256":
		return gosnmp.SHA256
	case "sha384":
		return gosnmp.SHA384
	case "sha512":
		return gosnmp.SHA512
	}
	return gosnmp.NoAuth
}

func privProtocol(name string) gosnmp.SnmpV3PrivProtocol {
	switch name {
	case "des":
		return gosnmp.DES
	case "aes":
		return gosnmp.AES
	case "aes192":
		return gosnmp.AES192
	case "aes256":
		return gosnmp.AES256
	case "aes192c":
		return gosnmp.AES192C
	case "aes256c":
		return gosnmp.AES256C
	}
	return gosnmp.NoPriv
}

// boot counts this start of our engine, without which a captured inform could be
// sent again after a restart. Without users there is nothing to protect.
func (u *usm) boot(ctx context.Context, accept router.AcceptFunc, state router.StateReader) error {
	u.started = time.Now()
	if len(u.users) == 0 {
		return nil
	}
	for {
		was, err := state.Load(ctx, bootsKey)
		if err != nil {
			return err
		}
		boots, err := strconv.ParseUint(string(was[0].Data), 10, 31)
		if err != nil {
			boots = 0
		}
		u.boots = uint32(min(boots+1, maxBoots))
		_, err = accept(ctx, nil, &store.StateWrite{
			State: store.State{Key: bootsKey, Data: strconv.AppendUint(nil, uint64(u.boots), 10)}, Read: was[0].Version,
		})
		if !errors.Is(err, router.ErrStale) {
			return err
		}
	}
}

// open decodes a message and checks who sent it. reply, when there is one, is
// for the sender: with a message, once it is stored; without one, at once.
func (u *usm) open(d message) (p *gosnmp.SnmpPacket, reply []byte, err error) {
	defer func() {
		// The decoder must not end the source for what somebody sent.
		if r := recover(); r != nil {
			p, reply, err = nil, nil, &refusal{malformed, fmt.Sprintf("decoder: %v", r)}
		}
	}()
	v, ok := version(d.data)
	switch {
	case !ok:
		return nil, nil, &refusal{malformed, "not an SNMP message"}
	case v == gosnmp.Version3 && len(u.users) > 0:
		return u.openV3(d)
	case v != gosnmp.Version3 && u.community != nil:
		return u.openByCommunity(d, v)
	}
	return nil, nil, &refusal{unauthenticated, "no " + v.String() + " is configured"}
}

// version reads the version of a message: a sequence that begins with an integer
// (RFC 1157, section 4; RFC 3412, section 6).
func version(b []byte) (gosnmp.SnmpVersion, bool) {
	if len(b) < 2 || b[0] != 0x30 {
		return 0, false
	}
	at := 2
	if b[1]&0x80 != 0 {
		at += int(b[1] & 0x7f)
	}
	if len(b) < at+3 || b[at] != 2 || b[at+1] != 1 {
		return 0, false
	}
	switch v := gosnmp.SnmpVersion(b[at+2]); v {
	case gosnmp.Version1, gosnmp.Version2c, gosnmp.Version3:
		return v, true
	}
	return 0, false
}

func (u *usm) openByCommunity(d message, v gosnmp.SnmpVersion) (*gosnmp.SnmpPacket, []byte, error) {
	g := &gosnmp.GoSNMP{Version: v}
	p, err := g.UnmarshalTrap(d.data, false)
	if err != nil {
		return nil, nil, &refusal{malformed, err.Error()}
	}
	if subtle.ConstantTimeCompare([]byte(p.Community), u.community) != 1 {
		return nil, nil, &refusal{unauthenticated, "wrong community"}
	}
	if !isTrap(p) {
		return nil, nil, &refusal{malformed, "neither a trap nor an inform"}
	}
	reply, err := acknowledgement(p)
	return p, reply, err
}

func isTrap(p *gosnmp.SnmpPacket) bool {
	switch p.PDUType {
	case gosnmp.SNMPv2Trap, gosnmp.InformRequest:
		return p.Version != gosnmp.Version1
	case gosnmp.Trap:
		return p.Version == gosnmp.Version1
	}
	return false
}

// acknowledgement is the response to an inform: the same message as a response
// (RFC 3416, section 4.2.7); nil for a trap.
func acknowledgement(p *gosnmp.SnmpPacket) ([]byte, error) {
	if p.PDUType != gosnmp.InformRequest {
		return nil, nil
	}
	r := *p
	r.PDUType, r.Error, r.ErrorIndex = gosnmp.GetResponse, gosnmp.NoError, 0
	r.MsgFlags &^= gosnmp.Reportable
	if p.Version == gosnmp.Version3 {
		r.SecurityParameters = p.SecurityParameters.Copy()
	}
	out, err := r.MarshalMsg()
	if err != nil {
		return nil, &refusal{malformed, "inform cannot be answered: " + err.Error()}
	}
	return out, nil
}

func (u *usm) openV3(d message) (*gosnmp.SnmpPacket, []byte, error) {
	if p := discovery(d.data); p != nil {
		u.mu.Lock()
		u.unknown++
		n := u.unknown
		u.mu.Unlock()
		reply, err := u.report(p, statsUnknownEngineIDs, n)
		return nil, reply, err
	}
	g := &gosnmp.GoSNMP{
		Version: gosnmp.Version3, SecurityModel: gosnmp.UserSecurityModel, TrapSecurityParametersTable: u.table,
	}
	p, err := g.UnmarshalTrap(d.data, true)
	if err != nil {
		u.waste()
		return nil, nil, &refusal{unauthenticated, err.Error()}
	}
	sp, ok := p.SecurityParameters.(*gosnmp.UsmSecurityParameters)
	if !ok || p.SecurityModel != gosnmp.UserSecurityModel {
		return nil, nil, &refusal{unauthenticated, "not of the User-based Security Model"}
	}
	// The decoder believes the message's own flags: a message that says that it is
	// not authenticated is not checked.
	if want := u.level(sp.UserName); p.MsgFlags&gosnmp.AuthPriv != want {
		return nil, nil, &refusal{unauthenticated, "its security level is not that of the user"}
	}
	if !isTrap(p) {
		return nil, nil, &refusal{malformed, "neither a trap nor an inform"}
	}
	if p.PDUType == gosnmp.SNMPv2Trap {
		if !u.timely(sp, d.at) {
			return nil, nil, &refusal{replayed, "older than what the sender's engine sent before"}
		}
		return p, nil, nil
	}
	if sp.AuthoritativeEngineID != u.engineID {
		u.mu.Lock()
		u.unknown++
		n := u.unknown
		u.mu.Unlock()
		p.MsgFlags = gosnmp.NoAuthNoPriv
		reply, err := u.report(p, statsUnknownEngineIDs, n)
		return nil, reply, errors.Join(err, &refusal{unauthenticated, "the inform is for another engine"})
	}
	now := u.now(d.at)
	if sp.AuthoritativeEngineBoots != u.boots || u.boots == maxBoots || apart(sp.AuthoritativeEngineTime, now) > window {
		u.mu.Lock()
		u.late++
		n := u.late
		u.mu.Unlock()
		reply, err := u.report(p, statsNotInTimeWindows, n)
		return nil, reply, errors.Join(err, &refusal{replayed, "outside the time window"})
	}
	reply, err := acknowledgement(p)
	return p, reply, err
}

// level is what messages of a user must have.
func (u *usm) level(user string) gosnmp.SnmpV3MsgFlags {
	switch known := u.users[user]; {
	case known.Priv != "":
		return gosnmp.AuthPriv
	case known.Auth != "":
		return gosnmp.AuthNoPriv
	}
	return gosnmp.NoAuthNoPriv
}

// discovery reads a message that asks for our engine id: without user and engine
// (RFC 3414, section 4); nil for any other.
func discovery(b []byte) *gosnmp.SnmpPacket {
	g := &gosnmp.GoSNMP{Version: gosnmp.Version3, SecurityModel: gosnmp.UserSecurityModel, SecurityParameters: &gosnmp.UsmSecurityParameters{}}
	p, err := g.UnmarshalTrap(append([]byte(nil), b...), true)
	if err != nil || p.MsgFlags&gosnmp.AuthPriv != gosnmp.NoAuthNoPriv {
		return nil
	}
	sp, ok := p.SecurityParameters.(*gosnmp.UsmSecurityParameters)
	if !ok || len(sp.AuthoritativeEngineID) >= 5 {
		return nil
	}
	return p
}

// report answers with a counter, our engine id and our time.
func (u *usm) report(p *gosnmp.SnmpPacket, counter string, n uint32) ([]byte, error) {
	r := *p
	sp, ok := p.SecurityParameters.Copy().(*gosnmp.UsmSecurityParameters)
	if !ok {
		return nil, &refusal{malformed, "no security parameters"}
	}
	sp.AuthoritativeEngineID = u.engineID
	sp.AuthoritativeEngineBoots, sp.AuthoritativeEngineTime = u.boots, u.now(time.Now())
	r.SecurityParameters, r.ContextEngineID = sp, u.engineID
	r.PDUType, r.Error, r.ErrorIndex = gosnmp.Report, gosnmp.NoError, 0
	r.MsgFlags &= gosnmp.AuthNoPriv
	r.Variables = []gosnmp.SnmpPDU{{Name: counter, Type: gosnmp.Counter32, Value: n}}
	out, err := r.MarshalMsg()
	if err != nil {
		return nil, &refusal{malformed, "report: " + err.Error()}
	}
	return out, nil
}

// now is our engine's time: seconds since it started.
func (u *usm) now(at time.Time) uint32 { return uint32(max(at.Sub(u.started), 0) / time.Second) }

func apart(a, b uint32) uint32 {
	if a > b {
		return a - b
	}
	return b - a
}

// timely tells whether a trap is newer than, or nearly as new as, the latest one
// of its engine (RFC 3414, section 3.2, step 7b), and remembers it. What is
// nearly as new and a copy has the id of the first and is a duplicate.
func (u *usm) timely(sp *gosnmp.UsmSecurityParameters, at time.Time) bool {
	if u.level(sp.UserName) == gosnmp.NoAuthNoPriv {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	last, known := u.engines[sp.AuthoritativeEngineID]
	switch {
	case sp.AuthoritativeEngineBoots == maxBoots:
		return false
	case !known:
		u.forgetOldest()
	case sp.AuthoritativeEngineBoots < last.boots:
		return false
	case sp.AuthoritativeEngineBoots == last.boots:
		// Where the engine's clock stands now, going by what it said last.
		expected := uint64(last.time) + uint64(max(at.Sub(last.at), 0)/time.Second)
		if uint64(sp.AuthoritativeEngineTime)+window < expected {
			return false
		}
		if sp.AuthoritativeEngineTime <= last.time {
			return true
		}
	}
	u.engines[sp.AuthoritativeEngineID] = engineClock{sp.AuthoritativeEngineBoots, sp.AuthoritativeEngineTime, at}
	return true
}

// forgetOldest makes room for one more engine; mu is held.
func (u *usm) forgetOldest() {
	if len(u.engines) < maxEngines {
		return
	}
	oldest, first := "", true
	for id, c := range u.engines {
		if first || c.at.Before(u.engines[oldest].at) {
			oldest, first = id, false
		}
	}
	delete(u.engines, oldest)
}

// waste empties the decoder's cache of keys now and then: some privacy protocols
// put a key into it for each engine id, and those of messages that prove nothing
// are anyone's choice.
func (u *usm) waste() {
	u.mu.Lock()
	u.wasted++
	full := u.wasted >= 10_000
	if full {
		u.wasted = 0
	}
	u.mu.Unlock()
	if full {
		gosnmp.PasswordCaching(false)
		gosnmp.PasswordCaching(true)
	}
}

// stamp is what makes a message of an engine a different one from all others.
func stamp(sp *gosnmp.UsmSecurityParameters, requestID uint32) []byte {
	out := append([]byte(sp.AuthoritativeEngineID), sp.UserName...)
	out = binary.BigEndian.AppendUint32(out, sp.AuthoritativeEngineBoots)
	out = binary.BigEndian.AppendUint32(out, sp.AuthoritativeEngineTime)
	return binary.BigEndian.AppendUint32(out, requestID)
}
