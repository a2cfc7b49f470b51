package datagram_test

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/monitor/datagram"
)

// TestEveryDatagramIsReadOrCounted: more than the kernel has room for.
func TestEveryDatagramIsReadOrCounted(t *testing.T) {
	t.Parallel()
	c, err := datagram.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	out, err := net.Dial("udp", c.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	const sent = 20_000
	text := bytes.Repeat([]byte("x"), 1400)
	for range sent {
		if _, err := out.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	read, lost := 0, 0
	buf := make([]byte, datagram.Size)
	take := func() bool {
		n, from, dropped, err := c.Read(buf)
		if err != nil {
			return false
		}
		if n != len(text) && n != 1 || from.Addr().String() != "127.0.0.1" {
			t.Fatalf("%d bytes from %s", n, from)
		}
		lost += int(dropped)
		if n > 1 {
			read++
		}
		return n > 1
	}
	c.Stop(time.Now().Add(time.Second))
	for take() {
	}
	// The count comes with the next one that there is room for.
	c.Stop(time.Now().Add(20 * time.Second))
	if _, err := out.Write([]byte("!")); err != nil {
		t.Fatal(err)
	}
	for take() {
	}
	if read+lost != sent || lost == 0 {
		t.Errorf("%d read and %d lost of %d", read, lost, sent)
	}
}
