#!/usr/bin/env bash
# Checks and tests every example with bin/pointsman.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob
for file in examples/*/pointsman.yaml; do
	echo "example: ${file%/*}"
	bin/pointsman check -c "$file"
	bin/pointsman test -c "$file"
done
