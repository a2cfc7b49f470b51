package rules

import (
	"bytes"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// decoders keeps used tokenizers: what they allocate to find duplicate names is
// half of all that parsing an event costs. It is a cache and holds nothing of
// any event.
var decoders = sync.Pool{New: func() any { return jsontext.NewDecoder(new(bytes.Buffer)) }}

// keepDecoder is the longest text, in bytes, whose tokenizer is used again; a
// text with a million names leaves a large one behind.
const keepDecoder = 64 << 10

// newDecoder returns a tokenizer of text. Nothing it returned may be used after
// release.
func newDecoder(text []byte) *jsontext.Decoder {
	dec, _ := decoders.Get().(*jsontext.Decoder)
	dec.Reset(bytes.NewBuffer(text))
	return dec
}

func release(dec *jsontext.Decoder, text []byte) {
	if len(text) > keepDecoder {
		return
	}
	dec.Reset(new(bytes.Buffer)) // lets go of the text
	decoders.Put(dec)
}
