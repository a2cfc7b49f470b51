#!/usr/bin/env bash
# Checks and tests every example with bin/pointsman. One that has to be built
# first has a prepare.sh; when that exits 77, what its plugins need is not
# installed, and they are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob
for file in examples/*/pointsman.yaml; do
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
	bin/pointsman check -c "$file" "${options[@]}"
	bin/pointsman test -c "$file"
done
