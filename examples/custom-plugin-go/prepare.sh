#!/usr/bin/env bash
# The commands of the README, before `pointsman check`.
set -euo pipefail
cd "$(dirname "$0")"
pointsman=${POINTSMAN:-../../bin/pointsman}
go build -trimpath -o wake .
chmod go-w wake
go test ./...
"$pointsman" plugins test ./wake --settings '{"broadcast": "127.0.0.1:9"}' \
	--params '{"mac": "02:00:00:00:00:01"}' --permanent '{"mac": "nonsense"}'
sha256sum wake | cut -d ' ' -f 1 >wake.sha256
