#!/bin/sh
# Stands for the call to the ticket system, which is down until somebody
# repairs it: touch ticket-system-is-up
if [ ! -e ticket-system-is-up ]; then
	echo "ticket system: connection refused" >&2
	exit 1
fi
echo "ticket 4711 opened: $1"
