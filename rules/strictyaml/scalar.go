package strictyaml

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	decimal     = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)
	based       = regexp.MustCompile(`^0(x[0-9a-fA-F]+|o[0-7]+)$`)
	leadingZero = regexp.MustCompile(`^[-+]?0+[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?$`)
	float       = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	special     = regexp.MustCompile(`^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
	part        = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)`)
	sizeForm    = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(B|[kKMGT]B|[KMGT]iB)$`)
	bareNumber  = regexp.MustCompile(`^[-+]?[0-9]+(\.[0-9]+)?$`)
)

// resolve gives a scalar its kind and value by the YAML 1.2 core schema.
func (n *Node) resolve() {
	n.kind = textKind
	if n.style != plain {
		return
	}
	switch n.text {
	case "", "~", "null", "Null", "NULL":
		n.kind = nullKind
		return
	case "true", "True", "TRUE":
		n.kind, n.value = boolKind, true
		return
	case "false", "False", "FALSE":
		n.kind, n.value = boolKind, false
		return
	}
	if !strings.ContainsRune("+-.0123456789", rune(n.text[0])) {
		return
	}
	switch {
	case decimal.MatchString(n.text) || based.MatchString(n.text):
		n.resolveInt()
	case leadingZero.MatchString(n.text):
		n.kind = badKind
		trimmed := strings.TrimLeft(strings.TrimLeft(n.text, "+-"), "0")
		if trimmed == "" || trimmed[0] < '0' || trimmed[0] > '9' {
			trimmed = "0" + trimmed
		}
		if n.text[0] == '-' {
			trimmed = "-" + trimmed
		}
		n.Errorf("%s begins with a zero, which readers of YAML take for different numbers (write %s, or \"%s\" for text)",
			n.text, trimmed, n.text)
	case float.MatchString(n.text):
		v, err := strconv.ParseFloat(n.text, 64)
		if err != nil {
			n.kind = badKind
			n.Errorf("%s is too large for a number (put it in quotes for text)", n.text)
			return
		}
		n.kind, n.value = floatKind, v
	case special.MatchString(n.text):
		n.kind = badKind
		n.Errorf("%s is not a number here (put it in quotes for text)", n.text)
	}
}

func (n *Node) resolveInt() {
	var v int64
	var err error
	if based.MatchString(n.text) {
		v, err = strconv.ParseInt(n.text, 0, 64)
	} else {
		v, err = strconv.ParseInt(n.text, 10, 64)
	}
	if err != nil {
		n.kind = badKind
		n.Errorf("%s does not fit into 64 bits (put it in quotes for text)", n.text)
		return
	}
	n.kind, n.value = intKind, v
}

// ParseDuration reads "30s", "10m", "1h30m", "7d" or "500ms": numbers with the
// units ms, s, m, h and d (24 hours). It is never negative; a number without
// unit is refused.
func ParseDuration(text string) (time.Duration, error) {
	if bareNumber.MatchString(text) {
		return 0, fmt.Errorf("a duration needs a unit (write \"%ss\" for seconds)", strings.TrimLeft(text, "+-"))
	}
	units := map[string]time.Duration{
		"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	}
	rest := text
	sum := new(big.Rat)
	for rest != "" {
		m := part.FindStringSubmatch(rest)
		if m == nil {
			break
		}
		rest = rest[len(m[0]):]
		if err := addScaled(sum, m[1], int64(units[m[2]])); err != nil {
			return 0, fmt.Errorf("duration %q is too long", text)
		}
	}
	if text == "" || rest != "" {
		return 0, fmt.Errorf("%q is not a duration (write it like 30s, 10m, 24h or 7d)", text)
	}
	v, ok := whole(sum)
	if !ok {
		return 0, fmt.Errorf("duration %q is too long", text)
	}
	return time.Duration(v), nil
}

// FormatDuration is the inverse of ParseDuration, in the largest units.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// ParseSize reads a number of bytes: "64KiB", "1MiB", "8GiB", "1TiB" (powers of
// 1024), "64KB", "1MB", "8GB", "1TB" (powers of 1000) or "512B".
func ParseSize(text string) (int64, error) {
	if bareNumber.MatchString(text) {
		return 0, fmt.Errorf("a size needs a unit (write \"%sB\" for bytes, or KiB, MiB, GiB)", strings.TrimLeft(text, "+-"))
	}
	m := sizeForm.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size (write it like 64KiB, 1MiB or 8GiB)", text)
	}
	base := int64(1000)
	if strings.HasSuffix(m[2], "iB") {
		base = 1024
	}
	unit := int64(1)
	for range strings.Index("BKMGT", strings.ToUpper(m[2][:1])) {
		unit *= base
	}
	sum := new(big.Rat)
	err := addScaled(sum, m[1], unit)
	v, ok := whole(sum)
	if err != nil || !ok {
		return 0, fmt.Errorf("size %q is too large", text)
	}
	return v, nil
}

// FormatSize is the inverse of ParseSize, in the largest unit of powers of 1024
// that leaves no fraction.
func FormatSize(size int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; i < len(units)-1 && size != 0 && size%1024 == 0; i++ {
		size /= 1024
	}
	return strconv.FormatInt(size, 10) + units[i]
}

// addScaled adds number*unit to sum, exactly.
func addScaled(sum *big.Rat, number string, unit int64) error {
	if len(number) > 40 {
		return strconv.ErrRange
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return strconv.ErrSyntax
	}
	sum.Add(sum, r.Mul(r, new(big.Rat).SetInt64(unit)))
	return nil
}

// whole returns the sum without its fraction; false beyond int64.
func whole(sum *big.Rat) (int64, bool) {
	q := new(big.Int).Quo(sum.Num(), sum.Denom())
	return q.Int64(), q.IsInt64()
}
