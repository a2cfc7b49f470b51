package syslog

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/pointsman/pointsman/rules"
)

// EventOf is the event of one line.
func EventOf(s *Source, text []byte, from netip.Addr, received time.Time) (*rules.Event, error) {
	return s.event(line{text: text, peer: from, received: received}, "id")
}

// Frames takes a stream apart; cut tells which messages are not whole.
func Frames(stream []byte, most int) (texts []string, cut []bool, err error) {
	f := newFramer(bytes.NewReader(stream), most)
	for {
		text, short, err := f.next()
		if err != nil {
			return texts, cut, err
		}
		texts, cut = append(texts, string(text)), append(cut, short)
	}
}
