package actions

import (
	"strings"
	"unicode/utf8"
)

// text makes s fit for the wire: valid UTF-8 of at most limit bytes.
func text(s string, limit int) string {
	const cut = "\n[cut]"
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	n := limit - len(cut)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + cut
}
