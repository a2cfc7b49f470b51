#!/bin/sh
# Stands for the script that logs in to the switch. The first attempt finds the
# switch busy, as happens.
if [ "$POINTSMAN_ATTEMPT" -lt 2 ]; then
	echo "switch does not answer yet" >&2
	exit 1
fi
echo "bounced port $2 at $4 (delivery $POINTSMAN_DELIVERY_ID)"
