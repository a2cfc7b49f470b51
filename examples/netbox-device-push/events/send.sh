#!/bin/sh
# Stands for NetBox: sends a file as its webhook does, signed.
set -eu
secret=$(cat "${0%/*}/../secret")
signature=$(openssl dgst -sha512 -hmac "$secret" <"$1" | sed 's/.* //')
exec curl -sS "${POINTSMAN_URL:-http://127.0.0.1:8080}"/hooks/netbox -H 'Content-Type: application/json' \
	-H "X-Hook-Signature: $signature" --data-binary "@$1"
