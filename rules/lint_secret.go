package rules

import (
	"regexp"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

var (
	// secretName is how parameters and flags are called that hold a secret.
	secretName = regexp.MustCompile(`(?i)^-{0,2}([a-z0-9_-]*[_-])?(password|passwd|passphrase|secret|token|authorization|credentials?|` +
		`(api|access|private|secret|signing|encryption)[_-]?key)$`)
	// secretFlag is such a flag with its value, as in --password=x.
	secretFlag = regexp.MustCompile(`(?i)^-{1,2}([a-z0-9_-]*[_-])?(password|passwd|passphrase|secret|token|(api|access|private|secret)[_-]?key)=.`)
	// secretShape is what only secrets look like: private keys, the tokens of
	// GitHub, GitLab, Slack and AWS, bearer tokens and a password in a URL.
	secretShape = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----|\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_[A-Za-z0-9_]{16,}|` +
		`\bglpat-[A-Za-z0-9_-]{16,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\b(AKIA|ASIA)[A-Z0-9]{16}\b|` +
		`(?i:\bbearer )[A-Za-z0-9._~+/=-]*[0-9][A-Za-z0-9._~+/=-]*|\b[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@${]*:[^/\s@${]+@`)
)

// secrets warns of secrets that are written out in a value of with. name is
// what the value is called.
func secrets(n *strictyaml.Node, name string) {
	switch {
	case n == nil:
	case n.IsMap():
		entries, _ := n.Entries()
		for _, e := range entries {
			secrets(e.Value, e.Name)
		}
	case n.IsList():
		items, _ := n.List()
		before := name
		for _, item := range items {
			secrets(item, before)
			// The value of a flag is the argument after it.
			before = name
			if text, ok := plainText(item); ok && strings.HasPrefix(text, "-") {
				before = text
			}
		}
	default:
		text, ok := plainText(n)
		if ok && (secretName.MatchString(name) && text != "" && !strings.HasPrefix(text, "-") || secretFlag.MatchString(text)) {
			warnSecret(n)
			return
		}
		secretText(n)
	}
}

// plainText is a text or an integer that is the same for every event.
func plainText(n *strictyaml.Node) (string, bool) {
	if n.IsText() {
		text, ok := n.Text()
		return text, ok && !strings.Contains(text, opening)
	}
	if v, _ := n.Any(); v != nil && !n.IsList() && !n.IsMap() {
		if _, isBool := v.(bool); !isBool {
			return n.Written()
		}
	}
	return "", false
}

// secretText warns of a text with something in it that looks like a secret, and
// tells whether it did.
func secretText(n *strictyaml.Node) bool {
	if !n.IsText() {
		return false
	}
	text, _ := n.Text()
	// Most texts have nothing of the kind, which is found faster so.
	mark := func(part string) bool { return strings.Contains(text, part) }
	if !slices.ContainsFunc([]string{"earer ", "EARER ", "://", "PRIVATE KEY", "gh", "glpat-", "xox", "AKIA", "ASIA"}, mark) ||
		!secretShape.MatchString(text) {
		return false
	}
	warnSecret(n)
	return true
}

// warnSecret never shows the value, and keeps other messages from it.
func warnSecret(n *strictyaml.Node) {
	n.Secret()
	n.Warn(literalSecret, 0, "a secret is written out here, and rules are stored with the events they decide "+
		"(put it into the settings of the action in pointsman.yaml, as ${env:NAME} or ${file:PATH})")
}
