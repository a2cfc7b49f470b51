package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// TestMessages: what is easily written wrong is answered with what to write.
func TestMessages(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"not a list":       {"sources: [{name: a, type: netlink, watch: link}]", `1:43: want a list, got text (put it in [ ])`},
		"not a word":       {"sources: [{name: a, type: schedule, every: 5m, catch_up: true}]", `1:58: want one of none, last, all, got true or false`},
		"no word":          {"sources: [{name: a, type: schedule, every: 5m, catch_up: }]", `1:58: a value is missing: want one of none, last, all (give one, or remove the key)`},
		"quoted boolean":   {"insecure: \"true\"", `1:11: want true or false, got text (remove the quotes)`},
		"yes":              {"insecure: yes", `1:11: want true or false, got text`},
		"quoted integer":   {"limits: {batch: \"5\"}", `1:17: want an integer, got text (remove the quotes)`},
		"no integer":       {"limits: {batch: many}", `1:17: want an integer, got text`},
		"hmac as text":     {"events: {auth: {hmac: \"${env:TOKEN}\"}}", `1:23: want a mapping, got text (its keys: secret, secrets, header, algorithm, encoding, prefix, timestamp, separator, tolerance)`},
		"syslog's port":    {"sources: [{name: a, type: syslog, listen: 514}]", `1:43: want udp://host:port, tcp://host:port or tls://host:port, such as udp://0.0.0.0:5514, got an integer`},
		"a file of names":  {"sources: [{name: a, type: snmptrap, listen: \"127.0.0.1:1\", community: \"${env:TOKEN}\", names: oids.txt}]", `1:94: want a mapping of identifiers to names, or a list of files, got text`},
		"users, no list":   {"sources: [{name: a, type: snmptrap, listen: \"127.0.0.1:1\", users: {name: ops}}]", `1:67: want a list, got a mapping`},
		"a scheme":         {"sources: [{name: a, type: snmptrap, listen: \"udp://:1\", community: \"${env:TOKEN}\"}]", `1:45: want host:port, such as 0.0.0.0:9162`},
		"admin and listen": {"listen: 127.0.0.1:8081", `1:9: port 8081 of tcp is taken by admin.listen (choose another port)`},
		"listen and admin": {"listen: 0.0.0.0:9000\ninsecure: true\nadmin: {listen: \"localhost:9000\"}", `3:17: port 9000 of tcp is taken by listen (choose another port)`},
		"one port for two": {
			"sources:\n  - {name: a, type: syslog, listen: \"udp://127.0.0.1:9162\"}\n  - {name: b, type: snmptrap, listen: \"127.0.0.1:9162\", community: \"${env:TOKEN}\"}",
			`3:39: port 9162 of udp is taken by source "a" (choose another port)`,
		},
		"any of both": {
			"sources: [{name: a, type: syslog, listen: \"udp://0.0.0.0:05514\", allow: [192.0.2.7]}, {name: b, type: syslog, listen: \"udp://[::1]:5514\"}]",
			`1:119: port 5514 of udp is taken by source "a" (choose another port)`,
		},
		"a port of listen": {"sources: [{name: a, type: syslog, listen: \"tcp://:8080\", allow: [192.0.2.7]}]", `1:43: port 8080 of tcp is taken by listen (choose another port)`},
	} {
		_, err := config.Load(write(t, tc.in+"\n"), options())
		var list strictyaml.Errors
		if !errors.As(err, &list) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var lines []string
		for _, e := range list {
			head, _, _ := strings.Cut(strings.TrimPrefix(e.Error(), e.File+":"), "\n")
			lines = append(lines, head)
		}
		if diff := cmp.Diff(tc.want, strings.Join(lines, "\n")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, text := range map[string]string{
		"other networks": "sources: [{name: a, type: syslog, listen: \"tcp://127.0.0.1:5514\"}, {name: b, type: syslog, listen: \"udp://127.0.0.1:5514\"}]",
		"other hosts":    "sources: [{name: a, type: syslog, listen: \"udp://127.0.0.1:5514\"}, {name: b, type: syslog, listen: \"udp://[::1]:5514\"}]",
		"any port":       "listen: 127.0.0.1:0\nadmin: {listen: \"127.0.0.1:0\"}",
	} {
		if _, err := config.Load(write(t, text+"\n"), options()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
