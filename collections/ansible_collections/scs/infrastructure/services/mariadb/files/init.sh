#!/bin/sh
# Creates the data directory of a new cluster's first member, and asks start.sh to bootstrap the cluster once.
# The directory is complete when `scs_initialized` exists: an interrupted attempt begins again.
set -eu
here=${0%/*}
. "$here/cluster.sh"
if [ -e "$DATA/scs_initialized" ] || [ -e "$DATA/grastate.dat" ]; then
  echo "the data directory exists"
  exit 0
fi
for peer in $PEERS; do
  if nc -z -w 3 "${peer#*=}" 4567; then
    echo "the cluster runs on ${peer%%=*}: this host will join it"
    exit 0
  fi
done
find "$DATA" -mindepth 1 -delete
mariadb-install-db --defaults-file="$here/server.cnf" --auth-root-authentication-method=normal --skip-test-db --wsrep-on=OFF > /dev/null
mariadbd --defaults-file="$here/server.cnf" --bootstrap --wsrep-on=OFF < "$here/init.sql"
touch "$DATA/scs_bootstrap" "$DATA/scs_initialized"
sync -f "$DATA"
echo "the data directory is new"
