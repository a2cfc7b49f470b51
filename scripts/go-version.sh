#!/usr/bin/env bash
# Refuses a Go that is older than go.mod asks for, in words.
set -euo pipefail
go=${1:-go}
cd "$(dirname "$0")/.."
want=$(awk '$1 == "go" { print $2 }' go.mod)
if ! command -v "$go" >/dev/null; then
	echo "pointsman needs Go $want or newer, and there is no $go here (see https://go.dev/doc/install)" >&2
	exit 1
fi
# In the module the go command may bring a newer toolchain by itself; outside it says what is installed.
if have=$("$go" env GOVERSION 2>/dev/null); then
	have=${have#go}
else
	have=$(cd / && "$go" env GOVERSION)
	have=${have#go}
fi
have=${have%% *}
if [ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n 1)" != "$want" ]; then
	echo "pointsman needs Go $want or newer, this is Go $have (see https://go.dev/doc/install)" >&2
	exit 1
fi
