package config

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

const masked = "***"

// Secret is text that must not be seen. However it is printed, formatted,
// logged or encoded it is "***"; only Reveal returns it.
type Secret struct{ value string }

// NewSecret makes a Secret.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the text, for the one place that needs it.
func (s Secret) Reveal() string { return s.value }

// IsZero tells whether there is no secret.
func (s Secret) IsZero() bool { return s.value == "" }

// Equal compares with what a client sent, in constant time for equal lengths.
func (s Secret) Equal(sent string) bool {
	return subtle.ConstantTimeCompare([]byte(s.value), []byte(sent)) == 1
}

// String returns "***".
func (Secret) String() string { return masked }

// GoString returns "***".
func (Secret) GoString() string { return masked }

// Format writes "***" for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// LogValue returns "***".
func (Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalJSON returns "***" as a JSON string.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + masked + `"`), nil }

// MarshalText returns "***".
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }
