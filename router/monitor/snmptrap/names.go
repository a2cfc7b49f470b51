package snmptrap

import "strings"

// nameOf finds what an object identifier is called: the name of its longest
// prefix in the table, and the index that follows it. Without one name is empty.
func (s *Source) nameOf(oid string) (name, index string) {
	for prefix := oid; prefix != ""; {
		name, known := s.cfg.Names[prefix]
		if !known {
			name = standardName(prefix)
		}
		if name != "" {
			return name, strings.TrimPrefix(oid[len(prefix):], ".")
		}
		i := strings.LastIndexByte(prefix, '.')
		if i < 0 {
			break
		}
		prefix = prefix[:i]
	}
	return "", ""
}

// standardName is what an object of the standard MIBs that traps name is called
// (RFC 3418, RFC 2863, RFC 4273); whoever needs more gives a table.
func standardName(oid string) string {
	switch oid {
	case "1.3.6.1.2.1.1.1":
		return "sysDescr"
	case "1.3.6.1.2.1.1.2":
		return "sysObjectID"
	case "1.3.6.1.2.1.1.3":
		return "sysUpTime"
	case "1.3.6.1.2.1.1.4":
		return "sysContact"
	case "1.3.6.1.2.1.1.5":
		return "sysName"
	case "1.3.6.1.2.1.1.6":
		return "sysLocation"
	case "1.3.6.1.2.1.2.2.1.1":
		return "ifIndex"
	case "1.3.6.1.2.1.2.2.1.2":
		return "ifDescr"
	case "1.3.6.1.2.1.2.2.1.3":
		return "ifType"
	case "1.3.6.1.2.1.2.2.1.5":
		return "ifSpeed"
	case "1.3.6.1.2.1.2.2.1.6":
		return "ifPhysAddress"
	case "1.3.6.1.2.1.2.2.1.7":
		return "ifAdminStatus"
	case "1.3.6.1.2.1.2.2.1.8":
		return "ifOperStatus"
	case "1.3.6.1.2.1.2.2.1.9":
		return "ifLastChange"
	case "1.3.6.1.2.1.31.1.1.1.1":
		return "ifName"
	case "1.3.6.1.2.1.31.1.1.1.15":
		return "ifHighSpeed"
	case "1.3.6.1.2.1.31.1.1.1.18":
		return "ifAlias"
	case "1.3.6.1.2.1.15.3.1.7":
		return "bgpPeerRemoteAddr"
	case "1.3.6.1.2.1.15.3.1.14":
		return "bgpPeerLastError"
	case "1.3.6.1.2.1.15.3.1.2":
		return "bgpPeerState"
	case "1.3.6.1.2.1.15.0.1":
		return "bgpEstablishedNotification"
	case "1.3.6.1.2.1.15.0.2":
		return "bgpBackwardTransNotification"
	case "1.3.6.1.6.3.1.1.4.1":
		return "snmpTrapOID"
	case "1.3.6.1.6.3.1.1.4.3":
		return "snmpTrapEnterprise"
	case "1.3.6.1.6.3.18.1.3":
		return "snmpTrapAddress"
	case "1.3.6.1.6.3.18.1.4":
		return "snmpTrapCommunity"
	case "1.3.6.1.6.3.1.1.5.1":
		return "coldStart"
	case "1.3.6.1.6.3.1.1.5.2":
		return "warmStart"
	case "1.3.6.1.6.3.1.1.5.3":
		return "linkDown"
	case "1.3.6.1.6.3.1.1.5.4":
		return "linkUp"
	case "1.3.6.1.6.3.1.1.5.5":
		return "authenticationFailure"
	case "1.3.6.1.6.3.1.1.5.6":
		return "egpNeighborLoss"
	}
	return ""
}
