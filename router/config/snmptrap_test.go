package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pointsman/pointsman/router/config"
)

func TestSNMPTrap(t *testing.T) {
	t.Parallel()
	path := write(t, `
sources:
  - name: traps
    type: snmptrap
    listen: 0.0.0.0:9162
    community: ${env:SHORT}
    users:
      - {name: ops, auth: sha256, auth_passphrase: "${env:TOKEN}", priv: aes, priv_passphrase: "${env:TOKEN}"}
    engine_id: 80001f8804706f696e74
    allow: [192.0.2.0/24, 198.51.100.7, "2001:db8::/32"]
    names: [oids.txt]
  - name: more
    type: snmptrap
    listen: 127.0.0.1:9163
    community: ${env:SHORT}
    names: {"1.3.6.1.4.1.99999.0.1": fanFailed, ".1.3.6.1.4.1.99999.1.7": fanSpeed}
`)
	oids := "\"org\"\t\t\t\"1.3\"\n# ours\n\"fanSpeed\"\t\t\t\"1.3.6.1.4.1.99999.1.7\"\n\n"
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "oids.txt"), []byte(oids), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, options())
	if err != nil {
		t.Fatal(err)
	}
	want := []*config.SNMPTrap{
		{
			Listen: "0.0.0.0:9162", Community: c.Sources[0].SNMPTrap.Community,
			Users:    []config.SNMPUser{{Name: "ops", Auth: "sha256", AuthPassphrase: config.NewSecret(longSecret), Priv: "aes", PrivPassphrase: config.NewSecret(longSecret)}},
			EngineID: []byte("\x80\x00\x1f\x88\x04point"),
			Allow: []netip.Prefix{
				netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("2001:db8::/32"),
			},
			Names: map[string]string{"1.3": "org", "1.3.6.1.4.1.99999.1.7": "fanSpeed"},
		},
		{
			Listen: "127.0.0.1:9163", Community: c.Sources[1].SNMPTrap.Community,
			Names: map[string]string{"1.3.6.1.4.1.99999.0.1": "fanFailed", "1.3.6.1.4.1.99999.1.7": "fanSpeed"},
		},
	}
	for i := range want {
		if diff := cmp.Diff(want[i], c.Sources[i].SNMPTrap, reveal, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings %v", c.Warnings)
	}
}

func TestSNMPTrapProblems(t *testing.T) {
	t.Parallel()
	path := write(t, `
sources:
  - {name: a, type: snmptrap, listen: 9162}
  - {name: b, type: snmptrap, listen: "127.0.0.1:1", community: "", engine_id: xyz, allow: [192.0.2.0/33]}
  - name: c
    type: snmptrap
    listen: 127.0.0.1:2
    users:
      - {name: ops, auth: sha257, auth_passphrase: hunter2hunter2}
      - {name: ops, auth: sha256, auth_passphrase: hunter2}
      - {name: "", priv: aes}
      - {name: d, priv_passphrase: hunter2hunter2, auth: md5, auth_passphrase: "${env:TOKEN}"}
    names: {linkDown: 1.2, "1.3": "a b"}
  - {name: d, type: snmptrap, listen: "127.0.0.1:3", community: "${env:SHORT}", names: [no.txt], auth: {bearer: x}}
`)
	_, err := config.Load(path, options())
	if err == nil {
		t.Fatal("no error")
	}
	var got strings.Builder
	for line := range strings.Lines(err.Error()) {
		if rest, ok := strings.CutPrefix(line, path+":"); ok {
			got.WriteString("\n" + strings.TrimSpace(strings.ReplaceAll(rest, filepath.Dir(path), "DIR")))
		}
	}
	want := `
3:5: want community (for v1 and v2c), users (for v3), or both
3:39: want host:port, such as 0.0.0.0:9162, got an integer
4:65: the secret is empty
4:80: want 5 to 32 bytes in hexadecimal, such as 80001f8804706f696e74 (RFC 3411, SnmpEngineID)
4:93: "192.0.2.0/33" is not a network (write it like 192.0.2.0/24 or 2001:db8::/32)
9:27: unknown value "sha257" (did you mean "sha256"?)
10:16: user "ops" is defined in line 9 already
10:52: the secret has 7 bytes, at least 8 are needed (openssl rand -hex 32 makes a good one)
11:9: "auth" is missing: without it anyone can send as this user (write auth: sha256 and auth_passphrase)
11:16: the name of a user has 1 to 32 bytes (RFC 3414)
11:26: "priv_passphrase" is missing
12:36: "priv" is missing
13:23: want text, got a number (write "1.2" in quotes)
13:35: "a b" is not a name (a letter, then letters, digits and -, at most 64)
14:89: file DIR/no.txt cannot be read: no such file or directory
14:98: unknown key "auth" (known: name, type, listen, community, users, engine_id, allow, names)`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error shows a secret:\n%s", err)
	}
}
