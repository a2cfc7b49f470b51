#!/bin/sh
# Makes a community that switch and router share, once.
set -eu
cd "$(dirname "$0")"
umask 077
[ -s community ] || od -An -N12 -tx1 /dev/urandom | tr -d ' \n' >community
