#!/usr/bin/env bash
# Installs what the tests need beyond Go, and only what is missing. Where it
# cannot, it says which tests will not run, and does not fail.
set -uo pipefail

missing=()
lost=()
need() { # PACKAGE WHAT-WILL-NOT-RUN TEST...
	local package=$1 what=$2
	shift 2
	if ! PATH="$PATH:/usr/sbin:/sbin" "$@" >/dev/null 2>&1; then
		missing+=("$package")
		lost+=("$package: $what")
	fi
}
# The distribution's Python, when another one comes first in PATH.
has_grpcio() { python3 -c 'import grpc' || /usr/bin/python3 -c 'import grpc'; }
check() {
	missing=() lost=()
	need redis-server "the tests of the Redis store" command -v redis-server
	need snmp "the tests that send SNMP traps" command -v snmptrap
	need snmptrapd "the tests that compare with snmptrapd" command -v snmptrapd
	need prometheus-alertmanager "the test with a real Alertmanager" command -v prometheus-alertmanager
	need python3-grpcio "the test of a plugin in Python" has_grpcio
	need iproute2 "the tests of netlink sources" command -v ip
	need strace "the tests that count syncs" command -v strace
	need jq "examples as their READMEs say" command -v jq
	need curl "examples with webhooks" command -v curl
	need openssl "examples with webhooks and certificates" command -v openssl
	need python3-minimal "the example with certificates" command -v python3
}

check
[ ${#missing[@]} -eq 0 ] && exit 0
sudo=()
if [ "$(id -u)" -ne 0 ]; then sudo=(sudo -n); fi
if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }; then
	echo "deps: installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	# policy-rc.d: the tests start their own servers; none may start by itself.
	policy=/usr/sbin/policy-rc.d made=
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null && "${sudo[@]}" chmod 755 $policy && made=1
	fi
	"${sudo[@]}" apt-get update -qq </dev/null >&2
	for package in "${missing[@]}"; do
		"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" </dev/null >/dev/null ||
			echo "deps: $package could not be installed" >&2
	done
	if [ -n "$made" ]; then "${sudo[@]}" rm -f $policy; fi
	check
fi
if [ ${#missing[@]} -gt 0 ]; then
	echo "deps: ================================================================" >&2
	echo "deps: not installed, so these will not run:" >&2
	printf 'deps:   %s\n' "${lost[@]}" >&2
	echo "deps: ================================================================" >&2
fi
exit 0
