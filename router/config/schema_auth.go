package config

import "github.com/pointsman/pointsman/rules/schema"

// headerForm is the name of a header.
const headerForm = `^[A-Za-z0-9_-]+$`

// secretText is a secret of at least so many bytes.
func secretText(least int) schema.Schema { return schema.Schema{"type": "string", "minLength": least} }

// tokens is a token, or a list of those that are taken.
func tokens() schema.Schema {
	return schema.OneOf(secretText(minSecret), schema.NonEmpty(schema.List(secretText(minSecret))))
}

func secretOrSecrets(more ...schema.Field) schema.Schema {
	return schema.Exactly(schema.Object(append([]schema.Field{
		{Name: "secret", Value: secretText(minSecret), Doc: "The secret, of 16 bytes or more: ${env:NAME} or ${file:PATH}."},
		{
			Name: "secrets", Value: schema.NonEmpty(schema.List(secretText(minSecret))),
			Doc: "Several secrets, any of which fits, so that they can be changed without a gap.",
		},
	}, more...)...), "secret", "secrets")
}

// authForms are the forms of auth. v is what is known of the sender's vendor.
func authForms(v vendor) schema.Schema {
	basic := schema.Object(
		schema.Field{Name: "user", Required: true, Value: schema.Text(`^[^:]*$`), Doc: "The user's name."},
		schema.Field{Name: "password", Required: true, Value: secretText(1), Doc: "The password: ${env:NAME} or ${file:PATH}."},
	)
	certificate := schema.Object(schema.Field{
		Name: "names", Required: true, Value: schema.NonEmpty(schema.List(schema.Text(`^(\*\.)?[^*]+$`))),
		Doc: "DNS names (*. stands for one label), e-mail addresses, URIs and IP addresses among its alternative names.",
	})
	forms := []schema.Schema{
		{"const": "none"},
		schema.Object(
			schema.Field{
				Name: "bearer", Required: true, Value: tokens(),
				Doc: "The token of Authorization: Bearer, of 16 bytes or more, or a list of those that are taken.",
			},
			schema.Field{Name: "query", Default: false, Value: schema.Boolean(), Doc: "Also takes the token as ?access_token=."},
		),
		schema.Object(schema.Field{Name: "basic", Required: true, Value: basic, Doc: "HTTP basic authentication."}),
		schema.Object(schema.Field{Name: "hmac", Required: true, Value: hmacSchema(v), Doc: "A keyed hash of the body in a header."}),
		schema.Object(schema.Field{Name: "certificate", Required: true, Value: certificate, Doc: "A client certificate of tls.client_ca with one of some names."}),
	}
	if v.token != "" || v.open {
		forms = append(forms, tokenSchema(v))
	}
	if v.sns {
		topics := schema.Object(schema.Field{
			Name: "topics", Required: true, Value: schema.NonEmpty(schema.List(schema.Text(topicForm.String()))),
			Doc: "The ARNs of the topics that may send: arn:aws:sns:REGION:ACCOUNT:NAME.",
		})
		forms = append(forms, schema.Object(schema.Field{Name: "sns", Required: true, Value: topics, Doc: "The signature of Amazon SNS, for some topics."}))
	}
	return schema.OneOf(forms...)
}

// hmacSchema is the mapping hmac, with the vendor's defaults.
func hmacSchema(v vendor) schema.Schema {
	if v.hmac.Kind == AuthStandardWebhooks {
		return secretOrSecrets()
	}
	known := func(text string) any {
		if text == "" {
			return nil
		}
		return text
	}
	s := secretOrSecrets(
		schema.Field{
			Name: "header", Default: known(v.hmac.Header), Value: schema.Text(headerForm), Required: v.hmac.Header == "",
			Doc: "The header that carries the signature.",
		},
		schema.Field{Name: "algorithm", Default: orElse(v.hmac.Algorithm, "sha256"), Value: schema.Word("sha1", "sha256", "sha512"), Doc: "The hash."},
		schema.Field{Name: "encoding", Default: orElse(v.hmac.Encoding, "hex"), Value: schema.Word("hex", "base64"), Doc: "How the hash is written."},
		schema.Field{Name: "prefix", Default: known(v.hmac.Prefix), Value: schema.Text(""), Doc: "What stands before the hash, such as sha256=."},
		schema.Field{
			Name: "timestamp", Value: schema.Text(headerForm),
			Doc: "The header with the time of sending, in seconds since 1970, when it is signed before the body; left out: only the body is.",
		},
		schema.Field{
			Name: "separator", Default: orElse(v.hmac.Separator, "."), Value: schema.Text(""),
			Doc: "What stands between the time of sending and the body where they are signed; with timestamp.",
		},
		schema.Field{
			Name: "tolerance", Default: "5m", Value: schema.Duration(),
			Doc: "How far the time of sending may be from that of this host, 1s to 1h; with timestamp.",
		},
	)
	s["dependentRequired"] = map[string][]string{"separator": {"timestamp"}, "tolerance": {"timestamp"}}
	return s
}

// tokenSchema is a token in a header, which is the vendor's unless another is
// named.
func tokenSchema(v vendor) schema.Schema {
	header := schema.Field{Name: "header", Required: true, Value: schema.Text(headerForm), Doc: "The header that carries the token."}
	if v.token != "" {
		header.Required, header.Default = false, v.token
	}
	return schema.Object(schema.Field{
		Name: "token", Required: true, Value: tokens(), Doc: "The token in a header, of 16 bytes or more, or a list of those that are taken.",
	}, header)
}
