#!/bin/sh
# Creates the data directory of a new cluster's first member, and asks start.sh to bootstrap the cluster once.
# The directory is complete when `scs_initialized` exists: an interrupted attempt begins again.
set -eu
. "${0%/*}/cluster.sh"
data=/var/lib/mysql
if [ -e $data/scs_initialized ] || [ -e $data/grastate.dat ]; then
  echo "the data directory exists"
  exit 0
fi
for peer in $PEERS; do
  if nc -z -w 3 "${peer#*=}" 4567; then
    echo "the cluster runs on ${peer%%=*}: this host will join it"
    exit 0
  fi
done
find $data -mindepth 1 -delete
mariadb-install-db --defaults-file=/etc/mysql/server.cnf --auth-root-authentication-method=normal --skip-test-db --wsrep-on=OFF > /dev/null
mariadbd --defaults-file=/etc/mysql/server.cnf --bootstrap --wsrep-on=OFF < /etc/mysql/init.sql
touch $data/scs_bootstrap $data/scs_initialized
sync -f $data
echo "the data directory is new"
