#!/bin/sh
# Keystone answers only when it can read the tokens that other hosts signed.
set -eu
cd /etc/keystone
if ! { [ -e fernet-keys/0 ] && [ -e credential-keys/0 ]; }; then
  echo "waiting for keys: keystone_fernet makes or fetches them"
  until [ -e fernet-keys/0 ] && [ -e credential-keys/0 ]; do
    sleep 1
  done
fi
exec uwsgi_python3 --ini /etc/keystone/uwsgi.ini
