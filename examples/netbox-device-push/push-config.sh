#!/bin/sh
# Stands for the playbook that renders the configuration from NetBox and pushes
# it, for example
#   ansible-playbook push.yml --limit "$2" --extra-vars "address=$4 asked_by=$8"
# It is run again after a failure, so it must be able to do its work twice.
set -eu
echo "pushed $2 at $4, site $6, asked by $8"
