#!/bin/sh
# Creates a new region's cluster, of one member. Every other host joins, and so does this one when it lost its database.
set -eu
if [ -e /var/lib/ovn/ovnsb_db.db ]; then
  echo "the database exists"
  exit 0
fi
if nc -z -w 3 172.30.2.12 6644; then
  echo "the cluster runs on 172.30.2.12: this host will join it"
  exit 0
fi
if nc -z -w 3 172.30.2.13 6644; then
  echo "the cluster runs on 172.30.2.13: this host will join it"
  exit 0
fi
rm -f /var/lib/ovn/ovnsb_db.db.new
ovsdb-tool --election-timer=4000 create-cluster /var/lib/ovn/ovnsb_db.db.new /usr/share/ovn/ovn-sb.ovsschema ssl:172.30.2.11:6644
mv /var/lib/ovn/ovnsb_db.db.new /var/lib/ovn/ovnsb_db.db
sync -f /var/lib/ovn/ovnsb_db.db
echo "the database is new"
