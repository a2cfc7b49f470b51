package config

import "github.com/pointsman/pointsman/rules/schema"

// words is a list of texts that are not empty.
func words() schema.Schema { return schema.List(schema.Schema{"type": "string", "minLength": 1}) }

func timezoneText() schema.Schema { return schema.Text(`^[A-Za-z][A-Za-z0-9_+/-]*$`) }

func scheduleFields() []schema.Field {
	instant := schema.Text(`^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}`)
	return []schema.Field{
		{
			Name: "cron", Value: schema.Text(`^@(yearly|annually|monthly|weekly|daily|midnight|hourly)$|^\s*\S+(\s+\S+){4}\s*$`),
			Doc: "Minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, @monthly, @yearly.",
		},
		{Name: "every", Value: schema.Duration(), Doc: "A period, aligned to 1970-01-01T00:00:00Z; 1s to 366d."},
		{
			Name: "at", Value: schema.OneOf(instant, schema.NonEmpty(atMost(maxInstants, schema.List(instant)))),
			Doc: "An instant or a list of 1 to 10000: 2026-12-24 18:00 in timezone, or RFC 3339.",
		},
		{Name: "timezone", Default: "UTC", Value: timezoneText(), Doc: "The zone of cron, at and except: an IANA name such as Europe/Berlin."},
		{
			Name: "except", Value: atMost(maxExcept, schema.List(schema.Text(`^([0-9]{4}-)?[0-9]{2}-[0-9]{2}(\.\.([0-9]{4}-)?[0-9]{2}-[0-9]{2})?$`))),
			Doc: "Days without ticks, at most 1000 entries: 2026-12-24, 12-24 of every year, 12-24..01-02.",
		},
		{Name: "jitter", Default: "0s", Value: schema.Duration(), Doc: "Ticks are made up to so much later; below every."},
		{
			Name: "catch_up", Default: CatchUpNone, Value: schema.Word(CatchUpNone, CatchUpLast, CatchUpAll),
			Doc: "What becomes of ticks that were missed: nothing, the last one is made, or all are.",
		},
	}
}

// atMost is the list with at most so many items.
func atMost(n int, list schema.Schema) schema.Schema {
	list["maxItems"] = n
	return list
}

func snmpTrapFields() []schema.Field {
	passphrase := secretText(minPassphrase)
	user := schema.Object(
		schema.Field{
			Name: "name", Required: true, Value: schema.Schema{"type": "string", "minLength": 1, "maxLength": 32},
			Doc: "The user's name, 1 to 32 bytes.",
		},
		schema.Field{
			Name: "auth", Required: true, Value: schema.Word("md5", "sha", "sha224", "sha256", "sha384", "sha512"),
			Doc: "How messages are signed; md5 and sha are weak.",
		},
		schema.Field{Name: "auth_passphrase", Required: true, Value: passphrase, Doc: "The passphrase of auth, 8 bytes or more: ${env:NAME} or ${file:PATH}."},
		schema.Field{
			Name: "priv", Value: schema.Word("des", "aes", "aes192", "aes256", "aes192c", "aes256c"),
			Doc: "How messages are encrypted; des is weak, aes192c and aes256c extend the key as Cisco devices do. Left out: not at all.",
		},
		schema.Field{Name: "priv_passphrase", Value: passphrase, Doc: "The passphrase of priv, 8 bytes or more; required with it."},
	)
	user["dependentRequired"] = map[string][]string{"priv": {"priv_passphrase"}, "priv_passphrase": {"priv"}}
	names := schema.Mapping()
	names["propertyNames"] = schema.Schema{"pattern": oidForm.String()}
	names["additionalProperties"] = schema.Text(oidName.String())
	return []schema.Field{
		{Name: "listen", Required: true, Value: schema.Text(addressForm), Doc: "host:port, UDP, such as 0.0.0.0:9162."},
		{Name: "community", Value: secretText(1), Doc: "What v1 and v2c must say; left out: neither is taken. It is sent in the clear."},
		{Name: "users", Value: schema.List(user), Doc: "Who may send v3; left out: v3 is not taken."},
		{
			Name: "engine_id", Value: schema.Text(`^(0x)?([0-9a-fA-F]{2}){5,32}$`),
			Doc: "The engine that v3 informs address, 5 to 32 bytes in hexadecimal; left out: made of the router's and the source's name.",
		},
		{Name: "allow", Value: networksSchema(), Doc: "Networks and single addresses that may send; left out: any."},
		{
			Name: "names", Value: schema.OneOf(names, words()),
			Doc: "What object identifiers are called: a mapping of identifiers to names, or a list of files as snmptranslate -m ALL -Tz prints them.",
		},
	}
}

// networksSchema is a list of networks and single addresses.
func networksSchema() schema.Schema {
	return schema.NonEmpty(schema.List(schema.Text(`^[0-9]+(\.[0-9]+){3}(/[0-9]+)?$|^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(/[0-9]+)?$`)))
}

func syslogFields() []schema.Field {
	return []schema.Field{
		{Name: "listen", Required: true, Value: schema.Text(`^(udp|tcp|tls)://[^ /@]*:[0-9]{1,5}$`), Doc: "udp://host:port, tcp://host:port or tls://host:port."},
		{Name: "timezone", Default: "UTC", Value: timezoneText(), Doc: "The zone of times that do not say theirs: an IANA name such as Europe/Berlin."},
		{
			Name: "allow", Value: networksSchema(),
			Doc: "Networks and single addresses of the permitted senders; left out: any, which beyond this host needs tls.client_ca or insecure.",
		},
		{Name: "tls", Value: tlsSchema(), Doc: "The certificate of tls://, and with client_ca whose clients are taken."},
		{Name: "max_line", Default: "64KiB", Value: schema.Size(), Doc: "The longest line, 512B to 64KiB; what is beyond is cut off."},
		{Name: "connections", Default: 1000, Value: schema.Integer(1, 100_000), Doc: "The most connections at once; not for udp://."},
		{Name: "idle", Default: "24h", Value: schema.Duration(), Doc: "How long a connection may be without a line, 1s to 366d; not for udp://."},
	}
}

func netlinkFields() []schema.Field {
	watch := schema.NonEmpty(schema.List(schema.Word("link", "address", "route", "neighbour")))
	watch["uniqueItems"] = true
	return []schema.Field{
		{Name: "watch", Required: true, Value: watch, Doc: "What of the network of this host to hear of."},
		{Name: "interfaces", Value: words(), Doc: "Patterns of names of interfaces, with *, ? and [a-z]; left out: all."},
		{Name: "except", Value: words(), Doc: "Patterns of names of interfaces that are left out."},
		{Name: "limit", Default: 10_000, Value: schema.Integer(1, 100_000), Doc: "The most things of each kind; with more the source is broken and says so."},
		{Name: "buffer", Default: "4MiB", Value: schema.Size(), Doc: "What the kernel may hold for the source, 64KiB to 1GiB."},
	}
}

func fileFields() []schema.Field {
	return []schema.Field{
		{
			Name: "path", Required: true, Value: schema.Schema{"type": "string", "minLength": 1},
			Doc: "A folder, or a file that need not be there; a relative path begins at the folder of this file.",
		},
		{Name: "recursive", Default: false, Value: schema.Boolean(), Doc: "The folders below it too."},
		{Name: "match", Value: words(), Doc: "Patterns of names, or of paths below path, to watch; left out: all."},
		{Name: "except", Value: words(), Doc: "Patterns of names, or of paths below path, to leave out with all that is below."},
		{Name: "sha256", Default: false, Value: schema.Boolean(), Doc: "Compares contents up to 1 MiB: what is written again as it was is no event."},
		{Name: "settle", Default: "100ms", Value: schema.Duration(), Doc: "How long nothing must happen before files are looked at, 1ms to 1h."},
		{Name: "limit", Default: 10_000, Value: schema.Integer(1, 100_000), Doc: "The most files; with more the source is broken and says so."},
	}
}
