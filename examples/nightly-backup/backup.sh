#!/bin/sh
# Stands for the script that fetches the configuration of every switch, for
# example with Oxidized, RANCID or an Ansible playbook. It writes into a new
# folder and renames it at the end, so that half a backup is never taken for one.
set -eu
day=$2
rm -rf saved/"$day".new
mkdir -p saved/"$day".new
for switch in sw1 sw2 core2; do
	echo "hostname $switch" >saved/"$day".new/$switch.cfg
done
rm -rf saved/"$day"
mv saved/"$day".new saved/"$day"
echo "saved 3 configurations"
