package rules

import (
	"errors"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
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

// showName returns the name if it may appear in errors and logs, else "".
func showName(name string) string {
	if len(name) > maxName {
		return ""
	}
	for _, c := range []byte(name) {
		if !isAlpha(c) && !isDigit(c) && c != '-' && c != '_' && c != '.' {
			return ""
		}
	}
	return name
}

// jsonError turns an error of the tokenizer into an *EventError without the
// pieces of the text that its message quotes.
func jsonError(err error, base int64) *EventError {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntax) && errors.Is(err, jsontext.ErrDuplicateName):
		return &EventError{
			Code: CodeDuplicateKey, Offset: base + syntax.ByteOffset,
			Attribute: duplicateName(syntax.JSONPointer), Msg: "an object has two members of one name",
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		offset := int64(-1)
		if syntax != nil {
			offset = base + syntax.ByteOffset
		}
		return badJSON(offset, "the JSON text ends too early")
	case syntax != nil:
		return badJSON(base+syntax.ByteOffset, "the text is not valid JSON in UTF-8")
	}
	return badJSON(-1, "the text is not valid JSON")
}

// duplicateName is the name of a member given twice in the event object itself.
func duplicateName(p jsontext.Pointer) string {
	if p.Parent() != "" {
		return ""
	}
	return showName(p.LastToken())
}
