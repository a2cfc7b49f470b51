package config

import "github.com/pointsman/pointsman/rules/schema"

// probeAddress is host:port; what it is with a target only check can tell.
const probeAddress = `^[^ /@?#]+:[0-9]{1,5}$|\{target\}`

// hostForm is a host or an address.
const hostForm = `^[^ /@?#]+$`

func probeFields() []schema.Field {
	targets := atMost(maxTargets, schema.NonEmpty(schema.List(schema.Text(`^[^ \t\r\n{}]+$`))))
	targets["uniqueItems"] = true
	icmp := schema.Object(schema.Field{Name: "host", Required: true, Value: schema.Text(hostForm), Doc: "A host name or an address."})
	return []schema.Field{
		{Name: "http", Value: probeHTTPSchema(), Doc: "A request: a URL, or a mapping with url."},
		{Name: "tcp", Value: probeTCPSchema(), Doc: "A connection: host:port, or a mapping with address."},
		{Name: "tls", Value: probeTLSSchema(), Doc: "A certificate: host:port, or a mapping with address."},
		{Name: "dns", Value: probeDNSSchema(), Doc: "A question to a name server: a name, or a mapping with name."},
		{Name: "icmp", Value: schema.OneOf(schema.Text(hostForm), icmp), Doc: "An echo request: a host, or a mapping with host."},
		{Name: "command", Value: probeCommandSchema(), Doc: "A program without a shell: [PROGRAM, ARG...], or a mapping with argv."},
		{
			Name: "targets", Value: targets,
			Doc: "1 to 1000 names, each looked at for itself: it is put where {target} is written.",
		},
		{Name: "interval", Default: "30s", Value: schema.Duration(), Doc: "From the begin of a check to that of the next, 1s to 24h."},
		{Name: "timeout", Default: "5s", Value: schema.Duration(), Doc: "Of one check, 10ms to interval."},
		{Name: "down_after", Default: 3, Value: schema.Integer(1, 1000), Doc: "Failed checks in a row that make a change."},
		{Name: "up_after", Default: 2, Value: schema.Integer(1, 1000), Doc: "Good checks in a row that make a change."},
	}
}

// trustFields say how certificates are judged.
func trustFields() []schema.Field {
	return []schema.Field{
		{Name: "verify", Default: true, Value: schema.Boolean(), Doc: "Whether the certificate is judged."},
		{Name: "ca", Value: schema.Text(""), Doc: "A PEM file with authorities; left out: those of the system."},
		{Name: "server_name", Value: schema.Text(""), Doc: "The name that is asked for and verified; left out: the host."},
	}
}

func probeHTTPSchema() schema.Schema {
	url := schema.Text(`^[hH][tT][tT][pP][sS]?://[^/]|\{target\}`)
	headers := schema.Mapping()
	headers["propertyNames"] = schema.Schema{"pattern": headerForm}
	headers["additionalProperties"] = schema.Text("")
	return schema.OneOf(url, schema.Object(append([]schema.Field{
		{Name: "url", Required: true, Value: url, Doc: "http:// or https://, without a user."},
		{Name: "method", Default: "GET", Value: schema.Word("GET", "HEAD", "POST", "OPTIONS"), Doc: "The method of the request."},
		{Name: "headers", Value: headers, Doc: "Headers of the request."},
		{Name: "status", Value: codesSchema(100, 599), Doc: "The expected status, or a list; left out: 200 to 299."},
		{Name: "body", Value: schema.Text(""), Doc: "A text that must be in the first MiB of the body."},
		{Name: "body_matches", Value: schema.Text(""), Doc: "A regular expression (RE2) that the first MiB of the body must match."},
		{Name: "follow", Default: false, Value: schema.Boolean(), Doc: "Follows redirects."},
	}, trustFields()...)...))
}

func probeTCPSchema() schema.Schema {
	address := schema.Text(probeAddress)
	return schema.OneOf(address, schema.Object(append([]schema.Field{
		{Name: "address", Required: true, Value: address, Doc: "host:port."},
		{Name: "send", Value: schema.Text(""), Doc: "What is written to the connection; left out: nothing."},
		{Name: "expect", Value: schema.Text(""), Doc: "A regular expression (RE2) that the first 4 KiB of the answer must match."},
		{Name: "tls", Default: false, Value: schema.Boolean(), Doc: "Makes a TLS handshake first."},
	}, trustFields()...)...))
}

func probeTLSSchema() schema.Schema {
	address := schema.Text(probeAddress)
	return schema.OneOf(address, schema.Object(append([]schema.Field{
		{Name: "address", Required: true, Value: address, Doc: "host:port."},
		{
			Name: "expires_within", Default: []string{"30d", "7d", "1d"}, Value: schema.List(schema.Duration()),
			Doc: "How long before the end of the certificate there is an event, once for each; up to 3660d.",
		},
	}, trustFields()...)...))
}

func probeDNSSchema() schema.Schema {
	name := schema.Text(hostForm)
	return schema.OneOf(name, schema.Object(
		schema.Field{Name: "name", Required: true, Value: name, Doc: "The name to ask for."},
		schema.Field{Name: "type", Default: "A", Value: schema.Word("A", "AAAA", "CNAME", "MX", "TXT", "SRV"), Doc: "The type of the records."},
		schema.Field{Name: "server", Value: schema.Text(hostForm), Doc: "A name server, with or without a port; left out: those of /etc/resolv.conf."},
		schema.Field{Name: "expect", Value: schema.List(schema.Text("")), Doc: "The values that must be the answer, in any order; left out: any."},
	))
}

func probeCommandSchema() schema.Schema {
	argv := schema.NonEmpty(schema.List(schema.Text("")))
	return schema.OneOf(argv, schema.Object(
		schema.Field{Name: "argv", Required: true, Value: argv, Doc: "The program and its arguments; a program with a slash is relative to this file."},
		schema.Field{Name: "dir", Value: schema.Text(""), Doc: "The folder it runs in; left out: that of this file."},
		schema.Field{Name: "exit", Value: codesSchema(0, 255), Doc: "The expected exit code, or a list; left out: 0."},
		schema.Field{Name: "output", Value: schema.Text(""), Doc: "A regular expression (RE2) that the output must match."},
	))
}

// codesSchema is one integer, or a list of them.
func codesSchema(low, high int) schema.Schema {
	return schema.OneOf(schema.Integer(low, high), schema.NonEmpty(schema.List(schema.Integer(low, high))))
}
