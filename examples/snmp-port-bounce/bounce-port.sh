#!/bin/sh
# Stands for setting ifAdminStatus down and up again, for example with
#   snmpset -v3 ... "$2" "1.3.6.1.2.1.2.2.1.7.$4" i 2
#   snmpset -v3 ... "$2" "1.3.6.1.2.1.2.2.1.7.$4" i 1
# A switch that does not answer makes snmpset fail, and pointsman tries again.
set -eu
echo "bounced $6, port $4 of $2"
