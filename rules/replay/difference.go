package replay

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Difference is a place at which two JSON values are not the same.
type Difference struct {
	// Path is the place, as an expression would name it: root.args[1].
	Path string
	// Old and New are the values there as JSON; nil where there is none.
	Old, New json.RawMessage
}

// Differences lists where two JSON values differ, maps by name and lists by
// position, as deep as it can say. root names the whole value. Numbers differ
// when their texts do.
func Differences(root string, from, to json.RawMessage) []Difference {
	old, okOld := decode(from)
	now, okNow := decode(to)
	if !okOld || !okNow {
		if bytes.Equal(from, to) {
			return nil
		}
		return []Difference{{root, from, to}}
	}
	return differ(nil, root, old, now)
}

func decode(text json.RawMessage) (v any, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return v, dec.Decode(&v) == nil
}

func differ(out []Difference, path string, old, now any) []Difference {
	switch old := old.(type) {
	case map[string]any:
		if now, ok := now.(map[string]any); ok {
			return differMaps(out, path, old, now)
		}
	case []any:
		if now, ok := now.([]any); ok {
			return differLists(out, path, old, now)
		}
	default:
		switch now.(type) {
		case map[string]any, []any:
		default: // both can be compared
			if old == now {
				return out
			}
		}
	}
	return append(out, Difference{path, encode(old), encode(now)})
}

func differMaps(out []Difference, path string, old, now map[string]any) []Difference {
	names := slices.Collect(maps.Keys(old))
	for name := range now {
		if _, both := old[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		at := path + member(name)
		x, inOld := old[name]
		y, inNow := now[name]
		switch {
		case !inOld:
			out = append(out, Difference{Path: at, New: encode(y)})
		case !inNow:
			out = append(out, Difference{Path: at, Old: encode(x)})
		default:
			out = differ(out, at, x, y)
		}
	}
	return out
}

func differLists(out []Difference, path string, old, now []any) []Difference {
	for i := range max(len(old), len(now)) {
		at := path + "[" + strconv.Itoa(i) + "]"
		switch {
		case i >= len(old):
			out = append(out, Difference{Path: at, New: encode(now[i])})
		case i >= len(now):
			out = append(out, Difference{Path: at, Old: encode(old[i])})
		default:
			out = differ(out, at, old[i], now[i])
		}
	}
	return out
}

// member is how an expression names a member of a map.
func member(name string) string {
	plain := name != "" && strings.IndexFunc(name, func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}) < 0 && (name[0] < '0' || name[0] > '9')
	if plain {
		return "." + name
	}
	return "[" + strconv.Quote(name) + "]"
}

func encode(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil { // it was decoded from JSON
		return json.RawMessage("null")
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
