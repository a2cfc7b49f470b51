#!/bin/sh
# Makes the token that Alertmanager shows and pointsman wants, once.
set -eu
cd "$(dirname "$0")"
umask 077
[ -s token ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >token
