package expression

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// longVersion is the longest version that is compared, in bytes.
const longVersion = 128

// versionCompare is -1, 0 or 1 as the first version is before, equal to or
// after the second in the order of docs/functions.md; nil when one is nil.
func versionCompare(s *State, a []any) (any, error) {
	if err := s.spend(2 + min(size(a[0])+size(a[1]), 2*longVersion)/2); err != nil {
		return nil, err
	}
	var room [2][16]string // enough for most; it stays on the stack
	var parts [2][]string
	for i, v := range a {
		switch v := v.(type) {
		case nil:
			return nil, nil
		case string:
			p, err := versionParts(room[i][:0], v)
			if err != nil {
				return nil, err
			}
			parts[i] = p
		default:
			return nil, fmt.Errorf("it takes a string, not %s (put a number such as 1.10 in quotes)", aType(v))
		}
	}
	for i := range max(len(parts[0]), len(parts[1])) {
		if c := comparePart(part(parts[0], i), part(parts[1], i)); c != 0 {
			return int64(c), nil
		}
	}
	return int64(0), nil
}

func part(parts []string, i int) string {
	if i < len(parts) {
		return parts[i]
	}
	return ""
}

// versionParts appends the numbers, without leading zeros, and the words of a
// version. What stands before the first digit and after a + is left
// out, and so are zeros before a word and at the end, which makes 1.0 equal
// 1.0.0 and keeps 1.0rc1 before both.
func versionParts(parts []string, text string) ([]string, error) {
	if len(text) > longVersion {
		return nil, fmt.Errorf("the text is no version (it has more than %d bytes)", longVersion)
	}
	i := strings.IndexFunc(text, func(r rune) bool { return isDigit(r) })
	if i < 0 {
		return nil, errors.New("the text is no version (it has no digit)")
	}
	text, _, _ = strings.Cut(text[i:], "+")
	for text != "" {
		kind := isDigit
		if !isDigit(rune(text[0])) {
			kind = isLetter
		}
		n := strings.IndexFunc(text, func(r rune) bool { return !kind(r) })
		switch {
		case n < 0:
			n = len(text)
		case n == 0: // it separates
			text = text[1:]
			continue
		}
		p := text[:n]
		text = text[n:]
		if isDigit(rune(p[0])) {
			parts = append(parts, cmp.Or(strings.TrimLeft(p, "0"), "0"))
			continue
		}
		parts = append(dropZeros(parts), p)
	}
	return dropZeros(parts), nil
}

func dropZeros(parts []string) []string {
	for len(parts) > 0 && parts[len(parts)-1] == "0" {
		parts = parts[:len(parts)-1]
	}
	return parts
}

func isDigit(r rune) bool  { return r >= '0' && r <= '9' }
func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

// comparePart compares two parts, of which "" is the end: the words of trial
// versions come before the end, then other words by the alphabet, then numbers.
func comparePart(a, b string) int {
	if c := cmp.Compare(partRank(a), partRank(b)); c != 0 {
		return c
	}
	if partRank(a) == rankNumber { // without leading zeros the longer is greater
		if c := cmp.Compare(len(a), len(b)); c != 0 {
			return c
		}
	}
	return compareFold(a, b)
}

// compareFold compares ASCII, upper and lower case alike.
func compareFold(a, b string) int {
	for i := range min(len(a), len(b)) {
		if c := cmp.Compare(lowerByte(a[i]), lowerByte(b[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// trials are the words of versions that come before the version itself.
var trials = []string{"alpha", "beta", "dev", "pre", "preview", "rc", "snapshot"}

const (
	rankTrial = iota
	rankEnd
	rankWord
	rankNumber
)

func partRank(p string) int {
	switch {
	case p == "":
		return rankEnd
	case isDigit(rune(p[0])):
		return rankNumber
	case slices.ContainsFunc(trials, func(t string) bool { return compareFold(t, p) == 0 }):
		return rankTrial
	}
	return rankWord
}
