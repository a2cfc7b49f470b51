#!/bin/sh
# Stands in for: ssh "$1" systemctl restart "$2"
echo "restarted $2 on $1"
