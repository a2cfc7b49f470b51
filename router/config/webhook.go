package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// Webhook is the type of source that takes requests at /hooks/NAME.
const Webhook = "webhook"

// webhook reads the keys of a webhook source.
func (r *reader) webhook(m *strictyaml.Map, s *Source) {
	r.translation(m, s, rules.Translation{Name: s.Name}, "type")
}

// translation reads what webhook sources have in common, and reports what is
// wrong with an expression where it is. t holds the defaults; required are the
// keys of event without one.
func (r *reader) translation(m *strictyaml.Map, s *Source, t rules.Translation, required ...string) {
	r.size(m.Key("body"), &s.Body, 1<<10, 64<<20)
	r.rate(m.Key("rate"), &s.Rate)
	if n := m.Key("text"); n != nil {
		s.Text, _ = n.Bool()
	}
	n := m.Key("event")
	if len(required) > 0 {
		n = m.Required("event")
	}
	event := n.Map("type", "source", "id", "subject", "time", "data", "extensions")
	for _, name := range required {
		event.Required(name)
	}
	at := make(map[string]*strictyaml.Node)
	extensions := r.extensions(event.Key("extensions"), &t)
	for _, x := range t.Expressions() {
		n := m.Key(x.Key)
		if name, ok := strings.CutPrefix(x.Key, "event.extensions."); ok {
			n = extensions[name]
		} else if name, ok := strings.CutPrefix(x.Key, "event."); ok {
			n = event.Key(name)
		}
		if expressionText(n, x.Text) {
			at[x.Key] = n
		}
	}
	r.paths(m, "strip", &t.Strip, at)
	r.paths(m, "decode", &t.Decode, at)
	s.Translation = t
	_, err := rules.NewTranslator(t)
	for _, e := range translationErrors(err) {
		// A type that is missing was reported above; at has no place for it.
		at[e.Key].ErrorfAt(e.Offset, "%s", e.Msg)
	}
}

// hookKeys are the keys of a source that takes requests.
func hookKeys() []string {
	return []string{"event", "each", "skip", "strip", "decode", "text", "body", "rate"}
}

// extensions makes room in t for the extension attributes at n, and returns
// where they are.
func (r *reader) extensions(n *strictyaml.Node, t *rules.Translation) map[string]*strictyaml.Node {
	t.Extensions = slices.Clone(t.Extensions)
	entries, _ := n.Entries()
	at := make(map[string]*strictyaml.Node, len(entries))
	for _, e := range entries {
		at[e.Name] = e.Value
		if !slices.ContainsFunc(t.Extensions, func(x rules.Extension) bool { return x.Name == e.Name }) {
			t.Extensions = append(t.Extensions, rules.Extension{Name: e.Name})
		}
	}
	return at
}

// paths adds the paths of a list.
func (r *reader) paths(m *strictyaml.Map, key string, to *[]string, at map[string]*strictyaml.Node) {
	items, _ := m.Key(key).List()
	*to = slices.Clone(*to)
	for _, item := range items {
		if text, ok := item.Text(); ok {
			at[key+"."+text] = item
			*to = append(*to, text)
		}
	}
}

// expressionText reads an expression; false when there is none.
func expressionText(n *strictyaml.Node, to *string) bool {
	if n == nil {
		return false
	}
	text, ok := n.Text()
	switch {
	case !ok:
	case strings.TrimSpace(text) == "":
		n.Errorf("the expression is empty (remove the key, or write one)")
	case strings.HasPrefix(strings.TrimSpace(text), "${{"):
		n.Errorf("this is an expression already (write it without ${{ and }})")
	case nextReference(text) >= 0:
		n.ErrorfAt(nextReference(text), "a reference is not possible in an expression: what it yields is stored with the event")
	default:
		*to = text
		return true
	}
	return false
}

// translationErrors takes apart what NewTranslator joined.
func translationErrors(err error) []*rules.TranslationError {
	var list interface{ Unwrap() []error }
	if !errors.As(err, &list) {
		return nil
	}
	var out []*rules.TranslationError
	for _, one := range list.Unwrap() {
		var e *rules.TranslationError
		if errors.As(one, &e) {
			out = append(out, e)
		}
	}
	return out
}

// exposedHooks refuses webhooks that anyone beyond this host may send.
func exposedHooks(sources *strictyaml.Node, c *Config) {
	if c.Insecure || loopback(c.Listen) || c.clientCertificates() {
		return
	}
	items, _ := sources.List()
	for _, s := range c.Sources {
		if !s.Hook() || s.Auth.Kind != AuthNone {
			continue
		}
		for _, item := range items {
			if pos(item) != s.Pos {
				continue
			}
			at := item
			if auth := field(item, "auth"); auth != nil {
				if !auth.IsText() {
					continue // a form that has its own problem
				}
				at = auth
			}
			at.Errorf("source %q is open to other hosts and asks for no authentication "+
				"(set auth, listen on 127.0.0.1, or say insecure: true at the top level)", s.Name)
		}
	}
}
