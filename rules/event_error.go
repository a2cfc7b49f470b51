package rules

import (
	"errors"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/rules/scan"
)

// The values of EventError.Code.
const (
	// CodeBadJSON: the text is not what the JSON event format asks for.
	CodeBadJSON = "bad_json"
	// CodeDuplicateKey: an object has two members of one name.
	CodeDuplicateKey = "duplicate_key"
	// CodeTooDeep: data is nested deeper than Limits.Depth.
	CodeTooDeep = "too_deep"
	// CodeNumberRange: a number is beyond the range of float64.
	CodeNumberRange = "number_range"
	// CodeMissingAttribute: a required attribute is not set.
	CodeMissingAttribute = "missing_attribute"
	// CodeBadAttribute: an attribute's name, type or value is not allowed.
	CodeBadAttribute = "bad_attribute"
	// CodeAttributeTooLong: an attribute's value, or the list of extensions, is
	// longer than allowed.
	CodeAttributeTooLong = "attribute_too_long"
	// CodeBadData: data is not what datacontenttype says, or there are two.
	CodeBadData = "bad_data"
	// CodeTooMany: a batch has more events than allowed.
	CodeTooMany = "too_many_events"
)

// EventError says what is wrong with an event. Its text holds nothing of the
// event but the name of an attribute.
type EventError struct {
	// Code is stable and machine-readable, one of the Code constants.
	Code string
	// Attribute is the attribute concerned, if any; only one whose name is
	// harmless to show (letters, digits, '-', '_' and '.').
	Attribute string
	// Offset is the byte position in the JSON text, -1 when it has none.
	Offset int64
	Msg    string
}

func (e *EventError) Error() string {
	if e.Offset >= 0 {
		return e.Msg + " at byte " + strconv.FormatInt(e.Offset, 10)
	}
	return e.Msg
}

// BatchError is the first error of a batch that lies within one event.
type BatchError struct {
	// Index is the position of the event in the batch, from 0.
	Index int
	Err   *EventError
}

func (e *BatchError) Error() string {
	return "event " + strconv.Itoa(e.Index) + ": " + e.Err.Error()
}

func (e *BatchError) Unwrap() error { return e.Err }

func tooDeep(offset int, lim Limits) *EventError {
	return &EventError{
		Code: CodeTooDeep, Offset: int64(offset),
		Msg: "arrays and objects are nested deeper than " + strconv.Itoa(lim.depth()),
	}
}

func badNumber(offset int) *EventError {
	return &EventError{
		Code: CodeNumberRange, Offset: int64(offset),
		Msg: "a number is beyond the range of a 64-bit float (send it as a string)",
	}
}

func badJSON(offset int64, msg string) *EventError {
	return &EventError{Code: CodeBadJSON, Offset: offset, Msg: msg}
}

func badAttribute(name, msg string) *EventError {
	return &EventError{Code: CodeBadAttribute, Attribute: showName(name), Offset: -1, Msg: subject(name) + msg}
}

func subject(name string) string {
	if name = showName(name); name != "" {
		return "attribute " + name + " "
	}
	return "an attribute "
}

// showName returns the name if it may appear in errors and logs, else "". It is a
// copy, which does not keep the event's text.
func showName(name string) string {
	if len(name) > maxName {
		return ""
	}
	for _, c := range []byte(name) {
		if !isAlpha(c) && !isDigit(c) && c != '-' && c != '_' && c != '.' {
			return ""
		}
	}
	return strings.Clone(name)
}

// scanError turns an error of the scanner into an *EventError.
func scanError(err error, lim Limits) *EventError {
	var e *scan.Error
	if !errors.As(err, &e) {
		return badJSON(-1, "the text is not valid JSON")
	}
	switch e.Fault {
	case scan.Duplicate:
		return &EventError{
			Code: CodeDuplicateKey, Offset: int64(e.Offset),
			Attribute: showName(e.Name), Msg: "an object has two members of one name",
		}
	case scan.TooDeep:
		return tooDeep(e.Offset, lim)
	case scan.Empty:
		return badJSON(-1, "the JSON text ends too early")
	case scan.Early:
		return badJSON(int64(e.Offset), "the JSON text ends too early")
	case scan.TooLong:
		return badJSON(int64(e.Offset), "the JSON text is longer than "+strconv.Itoa(scan.MaxText)+" bytes")
	}
	return badJSON(int64(e.Offset), "the text is not valid JSON in UTF-8")
}
