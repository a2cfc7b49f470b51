#!/usr/bin/env bash
# Compares the plugin contract with the one of the last tag, if there is one.
set -euo pipefail
buf=$1
cd "$(dirname "$0")/.."
tag=$(git describe --tags --abbrev=0 2>/dev/null || true)
if [ -z "$tag" ]; then
	echo "breaking: no tag to compare with"
	exit 0
fi
old=$(mktemp -d)
trap 'rm -rf "$old"' EXIT
git archive "$tag" actions/proto | tar -x -C "$old"
cd actions/proto
"$buf" breaking --against "$old/actions/proto"
