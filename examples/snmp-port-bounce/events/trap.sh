#!/bin/sh
# Stands for a switch, and sends a trap as one does: trap.sh linkDown|linkUp INDEX NAME ADMIN-STATUS
set -eu
case $1 in
linkDown) trap=1.3.6.1.6.3.1.1.5.3 oper=2 ;;
linkUp) trap=1.3.6.1.6.3.1.1.5.4 oper=1 ;;
*) echo "trap.sh: linkDown or linkUp?" >&2 && exit 2 ;;
esac
entry=1.3.6.1.2.1.2.2.1 # of the table of interfaces
exec snmptrap -v2c -c "$(cat "${0%/*}/../community")" 127.0.0.1:9162 '' $trap \
	$entry.1."$2" i "$2" $entry.2."$2" s "$3" $entry.7."$2" i "$4" $entry.8."$2" i $oper
