#!/bin/sh
# Makes the secret that requests to the ticket system are signed with, and an
# authority of its own for the server that stands for yours. Once.
set -eu
cd "$(dirname "$0")"
umask 077
[ -s ticket-secret ] || printf 'whsec_%s' "$(openssl rand -base64 32)" >ticket-secret
[ -s ca.pem ] || openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj '/CN=Example CA' -keyout ca.key -out ca.pem 2>/dev/null
[ -s server.pem ] || events/certificate.sh 90
