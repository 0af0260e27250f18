#!/bin/sh
# A member of the database's raft cluster. A host without the database joins its peers.
set -eu
umask 027
here=${0%/*}
. "$here/database.env"
if [ ! -e "$FILE" ]; then
  if [ -z "$PEER_URLS" ]; then
    echo "$FILE is missing, and this region has no other member to join: restore it from a backup" >&2
    exit 1
  fi
  rm -f "$FILE.new"
  # shellcheck disable=SC2086 # a word for each peer
  ovsdb-tool join-cluster "$FILE.new" "$SCHEMA" "$URL" $PEER_URLS
  mv "$FILE.new" "$FILE"
fi
rm -f "$SOCKET" "$CTL"
# The server opens its configuration for writing.
cp "$here/database.json" "/run/ovn/ovn_$NAME.json"
exec ovsdb-server --config-file="/run/ovn/ovn_$NAME.json" --unixctl="$CTL" \
  --private-key=/etc/scs/tls/host.key --certificate=/etc/scs/tls/host.crt --ca-cert=/etc/scs/tls/ca.crt \
  -vconsole:info -vfile:off -vsyslog:off
