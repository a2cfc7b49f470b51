#!/bin/bash
# Stands for the switches: sends each line of a file as a datagram of its own.
set -eu
while IFS= read -r line; do
	printf '%s' "$line" >/dev/udp/127.0.0.1/5514
done <"$1"
