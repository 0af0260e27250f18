#!/bin/sh
# health.sh [ADDRESS PORT]...: each API address is on this host, or a host that holds it answers there. An address without
# an endpoint has an empty port.
while [ $# -gt 1 ]; do
  [ -z "$2" ] || ip -oneline address show to "$1" | grep -q . || nc -z -w 3 "$1" "$2" || exit 1
  shift 2
done
