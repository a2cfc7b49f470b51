#!/usr/bin/env bash
# Checks and tests every example with bin/pointsman. What an example's
# configuration takes from the environment is in its example.env.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob
for file in examples/*/pointsman.yaml; do
	echo "example: ${file%/*}"
	(
		if [[ -f ${file%/*}/example.env ]]; then
			set -a
			# shellcheck source=/dev/null
			. "${file%/*}/example.env"
		fi
		bin/pointsman check -c "$file"
		bin/pointsman test -c "$file"
	)
done
