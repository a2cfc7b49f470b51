package syslog

// severityName is the word of RFC 5424 table 2 for a severity.
func severityName(severity int) string {
	switch severity {
	case 0:
		return "emergency"
	case 1:
		return "alert"
	case 2:
		return "critical"
	case 3:
		return "error"
	case 4:
		return "warning"
	case 5:
		return "notice"
	case 6:
		return "informational"
	case 7:
		return "debug"
	}
	return ""
}

// severityOf is the severity that FortiOS means by a word.
func severityOf(word string) (severity int, ok bool) {
	if word == "information" {
		word = "informational"
	}
	for severity := range 8 {
		if severityName(severity) == word {
			return severity, true
		}
	}
	return 0, false
}

// severityNumber is the number that the severity extension of CloudEvents has
// for a severity: the log data model of OpenTelemetry, appendix B.
func severityNumber(severity int) int32 {
	return [...]int32{21, 19, 18, 17, 13, 10, 9, 5}[severity]
}

// facilityName is the usual word for a facility of RFC 5424 table 1.
func facilityName(facility int) string {
	names := [...]string{
		"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
	}
	return names[facility]
}
