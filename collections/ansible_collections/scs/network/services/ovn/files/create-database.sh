#!/bin/sh
# Creates a new region's cluster, of one member. Every other host joins, and so does this one when it lost its database.
set -eu
. "${0%/*}/database.env"
if [ -e "$FILE" ]; then
  echo "the database exists"
  exit 0
fi
for peer in $PEERS; do
  if nc -z -w 3 "$peer" "$RAFT_PORT"; then
    echo "the cluster runs on $peer: this host will join it"
    exit 0
  fi
done
rm -f "$FILE.new"
ovsdb-tool --election-timer="$ELECTION_TIMER" create-cluster "$FILE.new" "/usr/share/ovn/ovn-$NAME.ovsschema" "$URL"
mv "$FILE.new" "$FILE"
sync -f "$FILE"
echo "the database is new"
