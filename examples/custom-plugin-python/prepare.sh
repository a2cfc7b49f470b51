#!/usr/bin/env bash
# The commands of the README, before `pointsman check`. Exits 77 where Python's
# grpc is missing.
set -euo pipefail
cd "$(dirname "$0")"
pointsman=${POINTSMAN:-../../bin/pointsman}
if ! /usr/bin/python3 -c 'import grpc' 2>/dev/null; then
	echo "NOT TRIED: /usr/bin/python3 has no grpc; install the package python3-grpcio" >&2
	exit 77
fi
chmod go-w journal.py
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$pointsman" plugins test ./journal.py --no-mtls --settings "{\"file\": \"$folder/journal.txt\"}" \
	--params '{"text": "hello"}' --permanent '{"text": 7}'
