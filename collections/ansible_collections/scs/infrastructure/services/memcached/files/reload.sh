#!/bin/sh
# Has memcached read its passwords and its certificate again; it keeps its values and its connections.
set -eu
kill -HUP 1      # dumb-init passes it on; memcached reads the passwords some time later
for _ in 1 2 3 4 5 6 7 8 9 10; do
  if /etc/memcached/ask.sh "$1" refresh_certs | grep -q '^OK'; then
    exit 0
  fi
  sleep 1
done
echo "memcached does not take its new password or certificate" >&2
exit 1
