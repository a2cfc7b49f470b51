package netlink

import (
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/router/monitor/memory"
)

// FuzzParse: whatever the kernel says, what is made of it can be remembered and
// told, and telling it again is no change.
func FuzzParse(f *testing.F) {
	attr := func(kind uint16, data ...byte) []byte {
		out := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
		out = append(binary.NativeEndian.AppendUint16(out, kind), data...)
		return append(out, make([]byte, (4-len(data)%4)%4)...)
	}
	message := func(header []byte, attrs ...[]byte) []byte {
		for _, a := range attrs {
			header = append(header, a...)
		}
		return header
	}
	index := []byte{2, 0, 0, 0}
	f.Add(uint16(unix.RTM_NEWLINK), message([]byte{0, 0, 1, 0, 2, 0, 0, 0, 0x43, 0x10, 1, 0, 0, 0, 0, 0},
		attr(unix.IFLA_IFNAME, []byte("eth0\x00")...), attr(unix.IFLA_OPERSTATE, operUp), attr(unix.IFLA_ADDRESS, 2, 0, 0, 0, 0, 1)))
	f.Add(uint16(unix.RTM_DELADDR), message([]byte{unix.AF_INET, 24, 0, 0, 2, 0, 0, 0}, attr(unix.IFA_LOCAL, 192, 0, 2, 1)))
	route := []byte{unix.AF_INET, 24, 0, 0, 254, 3, 0, unix.RTN_UNICAST, 0, 0, 0, 0}
	f.Add(uint16(unix.RTM_NEWROUTE), message(route, attr(unix.RTA_DST, 192, 0, 2, 0), attr(unix.RTA_OIF, index...), attr(unix.RTA_GATEWAY, 192, 0, 2, 1)))
	hop := message([]byte{16, 0, 0, 0, 2, 0, 0, 0}, attr(unix.RTA_GATEWAY, 192, 0, 2, 1))
	f.Add(uint16(unix.RTM_NEWROUTE), message(route, attr(unix.RTA_MULTIPATH, append(hop, hop...)...)))
	f.Add(uint16(unix.RTM_NEWNEIGH), message([]byte{unix.AF_INET, 0, 0, 0, 2, 0, 0, 0, unix.NUD_REACHABLE, 0, 0, 0},
		attr(unix.NDA_DST, 192, 0, 2, 1), attr(unix.NDA_LLADDR, 2, 0, 0, 0, 0, 1)))
	f.Fuzz(func(t *testing.T, kind uint16, data []byte) {
		w := &watch{cfg: &Config{Source: "n", Host: "h"}, names: map[uint32]string{2: "eth0"}, sets: map[string]*memory.Set{}}
		thing, ok := w.parse(netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(kind)}, Data: data})
		if !ok {
			return
		}
		if thing.key == "" || !thing.gone && thing.value == "" {
			t.Fatalf("%+v", thing)
		}
		for _, old := range []string{"", thing.value, thing.next("")} {
			next := thing.next(old)
			kind, subject, data := thing.tell(old)
			if kind != "" {
				if _, err := w.event(kind, "id", subject, data); err != nil {
					t.Fatalf("%+v: %s", thing, err)
				}
			}
			if _, err := json.Marshal(map[string]string{thing.key: next}); err != nil {
				t.Fatal(err)
			}
			if again := thing.next(next); again != next {
				t.Fatalf("%+v: %q becomes %q", thing, next, again)
			}
		}
	})
}
