package memory

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns a name as events and states can hold it: bytes that are no UTF-8,
// and characters that cannot be seen, are written as \xNN. Spaces stay.
func Text(name string) string {
	bad := func(r rune) bool { return r == utf8.RuneError || !unicode.IsGraphic(r) }
	if !strings.ContainsFunc(name, bad) {
		return name
	}
	var out strings.Builder
	for len(name) > 0 {
		r, n := utf8.DecodeRuneInString(name)
		if bad(r) {
			for _, b := range []byte(name[:n]) {
				fmt.Fprintf(&out, `\x%02x`, b)
			}
		} else {
			out.WriteString(name[:n])
		}
		name = name[n:]
	}
	return out.String()
}
