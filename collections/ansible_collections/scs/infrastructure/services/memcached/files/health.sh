#!/bin/sh
# Exits 0 when memcached answers a service: it proves its name, and takes the password.
exec /etc/memcached/ask.sh "$1" version | grep -q '^VERSION '
