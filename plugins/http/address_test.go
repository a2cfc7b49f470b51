package http_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/actions"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/plugins/http"
)

func timeoutAfter(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

func TestRefusedSettings(t *testing.T) {
	t.Parallel()
	const linkLocal = "is link-local or no single host (see allow)"
	for _, tc := range []struct{ url, more, want string }{
		{"", "", "url: say where requests go, such as https://host/path"},
		{"file:///etc/passwd", "", "url: the scheme must be http or https"},
		{"gopher://h/", "", "url: the scheme must be http or https"},
		{"HTTPX://h/", "", "url: the scheme must be http or https"},
		{"//h/", "", "url: the scheme must be http or https"},
		{"http://", "", "url: the host is missing (write https://host/path)"},
		{"http:h", "", "url: the host is missing (write https://host/path)"},
		{"http://user:canary@h/", "", "url: user and password do not belong in it (set an Authorization header in headers)"},
		{"http://h/#canary", "", "url: a fragment is never sent (remove what follows the #)"},
		{"http://h/%zz?canary", "", "url: not a URL (write https://host/path)"},
		{"http://h/?a=%zzcanary", "", "url: the query is not well-formed"},
		{"http://bücher.example/", "", "url: the host is not in ASCII (write its xn-- form)"},
		{"http://169.254.169.254/latest", "", "url: address refused: 169.254.169.254 " + linkLocal},
		{"HTTP://169.254.169.254/latest", "", "url: address refused: 169.254.169.254 " + linkLocal},
		{"http://[::ffff:169.254.169.254]/", "", "url: address refused: 169.254.169.254 " + linkLocal},
		{"http://[::ffff:a9fe:a9fe]/", "", "url: address refused: 169.254.169.254 " + linkLocal},
		{"http://[64:ff9b::a9fe:a9fe]/", "", "url: address refused: 64:ff9b::a9fe:a9fe " + linkLocal},
		{"http://[64:ff9b:1::169.254.169.254]/", "", "url: address refused: 64:ff9b:1::a9fe:a9fe " + linkLocal},
		{"http://[2002:a9fe:a9fe::1]/", "", "url: address refused: 2002:a9fe:a9fe::1 " + linkLocal},
		{"http://[::a9fe:a9fe]/", "", "url: address refused: ::a9fe:a9fe " + linkLocal},
		{"http://[fe80::1%25eth0]/", "", "url: address refused: fe80::1 " + linkLocal},
		{"http://[fd00:ec2::254]/", "", "url: address refused: fd00:ec2::254 " + linkLocal},
		{"http://0.0.0.0/", "", "url: address refused: 0.0.0.0 " + linkLocal},
		{"http://[::]/", "", "url: address refused: :: " + linkLocal},
		{"http://239.1.1.1/", "", "url: address refused: 239.1.1.1 " + linkLocal},
		{"http://0x7f.1/", "", "url: the host looks like an address but is none (write all four numbers, in decimal)"},
		{"http://127.1/", "", "url: the host looks like an address but is none (write all four numbers, in decimal)"},
		{"http://2130706433/", "", "url: the host looks like an address but is none (write all four numbers, in decimal)"},
		{"http://0251.0376.0251.0376/", "", "url: the host looks like an address but is none (write all four numbers, in decimal)"},
		{"http://169.254.0xa9fe/", "", "url: the host looks like an address but is none (write all four numbers, in decimal)"},
		{"http://h/", `, "method": "CONNECT"`, "method: want POST, PUT, PATCH, DELETE, GET or HEAD"},
		{"http://h/", `, "headers": {"Host": "canary"}`, `headers: "Host" cannot be set`},
		{"http://h/", `, "headers": {"X-A": "canary\r\nX-B: b"}`, `headers: "X-A" has a control character in its value`},
		{"http://h/", `, "secret": "canary"`, "secret: the key has 6 bytes, at least 16 are needed"},
		{"http://h/", `, "secret": "whsec_canary!!"`, "secret: what follows whsec_ is not base64"},
		{"http://h/", `, "allow": ["10.0.0.0/99"]`, `allow: "10.0.0.0/99" is not a network (write 10.0.0.0/8)`},
		{"http://h/", `, "allow": ["h:80"]`, `allow: "h:80" is not an address, a network or the name of a host`},
		{"http://h/", `, "follow": true`, `json: unknown field "follow"`},
	} {
		err := http.New().Configure(t.Context(), actions.Settings{JSON: settings(tc.url, tc.more)})
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s%s: %v, want %s", tc.url, tc.more, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s%s: the error repeats what may be a secret", tc.url, tc.more)
		}
	}
}

// What the dialer asks after a name was resolved, whatever the name server said.
func TestTheDialledAddressIsChecked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		url     string
		allow   []string
		address string
		ok      bool
	}{
		{"http://netbox.example/", nil, "10.1.2.3:80", true},
		{"http://netbox.example/", nil, "[2001:db8::1]:80", true},
		{"http://localhost/", nil, "127.0.0.1:80", true},
		{"http://localhost/", nil, "[::1]:80", true},
		{"http://rebound.example/", nil, "169.254.169.254:80", false},
		{"http://rebound.example/", nil, "[::ffff:169.254.169.254]:80", false},
		{"http://rebound.example/", nil, "[64:ff9b::a9fe:a9fe]:80", false},
		{"http://rebound.example/", nil, "[fe80::1%lo]:80", false},
		{"http://rebound.example/", nil, "0.0.0.0:80", false},
		{"http://rebound.example/", []string{"10.0.0.0/8"}, "169.254.169.254:80", false},
		{"http://rebound.example/", []string{"other.example"}, "169.254.169.254:80", false},
		{"http://metadata.example/", []string{"169.254.169.254"}, "169.254.169.254:80", true},
		{"http://metadata.example/", []string{"169.254.169.254"}, "[::ffff:169.254.169.254]:80", true},
		{"http://metadata.example/", []string{"::ffff:169.254.0.0/112"}, "169.254.169.254:80", true},
		{"http://metadata.example/", []string{"169.254.169.254"}, "169.254.169.253:80", false},
		{"http://metadata.example/", []string{"Metadata.Example"}, "169.254.169.254:80", true},
		{"http://10.0.0.1/", nil, "10.0.0.1:80", true},
		{"http://10.0.0.1/", nil, "[::ffff:10.0.0.1]:80", true},
		{"http://10.0.0.1/", []string{"10.0.0.0/8"}, "10.0.0.2:80", false},
		{"http://[::1]/", nil, "[::1]:80", true},
		{"http://[64:ff9b::7f00:1]/", nil, "127.0.0.1:80", false},
	} {
		if err := http.CheckDial(tc.url, tc.allow, tc.address); (err == nil) != tc.ok {
			t.Errorf("%s %v dials %s: %v", tc.url, tc.allow, tc.address, err)
		}
	}
}

func TestNamesAreDialled(t *testing.T) {
	t.Parallel()
	tg := newTarget(t, nil)
	url := strings.Replace(tg.URL, "http://127.0.0.1", "HTTP://LocalHost", 1) + "/x"
	if res := start(t, url, "").Run(t.Context(), "null"); res.GetStatus() != actionv1.Status_STATUS_DONE || tg.last(t).URI != "/x" {
		t.Errorf("%v", res)
	}
}
