#!/usr/bin/env bash
# Unit and conformance tests with the race detector. The translated C of
# sqlite is about 15 times slower under it, so that store runs its short set.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=() sqlite=()
while read -r package; do
	case $package in
	*/cmd/* | */examples | */examples/*) ;; # whole processes, which their own tests drive
	*/router/store/sqlite) sqlite+=("$package") ;;
	*) packages+=("$package") ;;
	esac
done < <(go list ./...)
go test -race -short -timeout 15m "${packages[@]}"
if [ ${#sqlite[@]} -gt 0 ]; then
	go test -race -short -timeout 15m -run 'Conformance|Commit|Concurrent' "${sqlite[@]}"
fi
