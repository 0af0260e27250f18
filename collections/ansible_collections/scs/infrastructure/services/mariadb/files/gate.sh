#!/bin/sh
# Whether the cluster can do without this member: most of all members are Synced without it. One that does not work
# itself is missed by nobody.
set -u
here=${0%/*}
. "$here/cluster.sh"
"$here/health.sh" > /dev/null 2>&1 || exit 0
members=1
synced=0
missing=
for peer in $PEERS; do
  members=$((members + 1))
  if synced "${peer#*=}" 10; then
    synced=$((synced + 1))
  else
    missing="$missing ${peer%%=*}"
  fi
done
if [ $members -gt 1 ] && [ $synced -lt $((members / 2 + 1)) ]; then
  echo "not Synced:$missing"
  exit 1
fi
