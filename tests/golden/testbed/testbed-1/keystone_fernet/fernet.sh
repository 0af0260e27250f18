#!/bin/sh
# `rotate` runs for ever and rotates when the signing key is old enough, `check` says whether that works.
set -eu
keys=/etc/keystone/fernet-keys
period=86400

# Seconds since the last rotation: the newest file is the one it made.
age() {
  newest=$(find $keys -name '[0-9]*' -printf '%T@\n' | sort -n | tail -1 | cut -d. -f1)
  [ -n "$newest" ] || { echo "$keys holds no key" >&2; return 1; }
  echo $(($(date +%s) - newest))
}

case $1 in
  rotate)
    while seconds=$(age); do
      if [ "$seconds" -ge $period ]; then
        keystone-manage fernet_rotate --keystone-user keystone --keystone-group keystone
      else
        sleep $((period - seconds))
      fi
    done
    exit 1 ;;
  # Twice the period: a rotation that is merely due is no fault.
  check) [ "$(age)" -lt $((2 * period)) ] ;;
esac
