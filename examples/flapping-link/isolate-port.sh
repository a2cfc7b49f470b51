#!/bin/sh
# Stands for the script that logs in to the switch and shuts the port down, or
# puts it into a VLAN that leads nowhere. The dialect tells whose commands to use.
set -eu
dialect=$2 device=$4 port=$6
case $dialect in
ios | iosxr | nxos | eos) command="interface $port; shutdown" ;;
junos) command="set interfaces $port disable; commit" ;;
*) echo "no commands for $dialect" >&2 && exit 64 ;;
esac
echo "$device: $command"
