#!/bin/sh
# Makes the secret that NetBox signs with, once.
set -eu
cd "$(dirname "$0")"
umask 077
[ -s secret ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >secret
