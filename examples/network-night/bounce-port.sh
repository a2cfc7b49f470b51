#!/bin/sh
# Stands for the script that logs in to the switch and shuts the port down and
# up again. Exit code 0 is done; any other is tried again.
set -eu
echo "bounced $4 of $2"
