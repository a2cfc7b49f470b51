#!/usr/bin/env bash
# Checks and tests every example with bin/pointsman: no warning, and every rule
# and step reached by a test. One that has to be built first, or needs a secret,
# has a prepare.sh; when that exits 77, what its plugins need is not installed,
# and they are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob
for file in examples/*/pointsman.yaml examples/*/*/pointsman.yaml; do
	folder=${file%/*} options=()
	echo "example: $folder"
	if [ -x "$folder/prepare.sh" ]; then
		code=0
		POINTSMAN="$PWD/bin/pointsman" "$folder/prepare.sh" || code=$?
		case $code in
		0) ;;
		77) options=(--no-plugins) ;;
		*) exit "$code" ;;
		esac
	fi
	bin/pointsman check --strict -c "$file" "${options[@]}"
	coverage=$(bin/pointsman test --coverage -c "$file") || { echo "$coverage" && exit 1; }
	echo "$coverage"
	grep -q '^coverage: 100.0 % of the steps of do, 100.0 % of the rules$' <<<"$coverage" || {
		echo "$folder: not every step is reached by a test" >&2
		exit 1
	}
done
