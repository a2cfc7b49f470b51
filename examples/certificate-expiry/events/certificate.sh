#!/bin/sh
# Gives the server a new certificate: certificate.sh DAYS
set -eu
cd "$(dirname "$0")/.."
umask 077
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
openssl req -newkey rsa:2048 -nodes -subj '/CN=shop.example.net' -keyout "$folder/key" -out "$folder/request" 2>/dev/null
printf 'subjectAltName=IP:127.0.0.1' >"$folder/names"
openssl x509 -req -in "$folder/request" -CA ca.pem -CAkey ca.key -set_serial "0x$(openssl rand -hex 8)" \
	-days "$1" -extfile "$folder/names" -out "$folder/certificate" 2>/dev/null
cat "$folder/certificate" "$folder/key" >server.pem.new
mv server.pem.new server.pem
