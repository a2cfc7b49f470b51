#!/usr/bin/env bash
# Runs every fuzz target for the given time (default 10s), one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10s}
go list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r package dir; do
	{ grep -ohE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go 2>/dev/null || true; } | awk '{ print $2 }' | while read -r target; do
		echo "fuzz: $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" </dev/null
	done
done
