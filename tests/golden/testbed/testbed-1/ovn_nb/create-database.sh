#!/bin/sh
# Creates a new region's cluster, of one member. Every other host joins, and so does this one when it lost its database.
set -eu
if [ -e /var/lib/ovn/ovnnb_db.db ]; then
  echo "the database exists"
  exit 0
fi
rm -f /var/lib/ovn/ovnnb_db.db.new
ovsdb-tool --election-timer=4000 create-cluster /var/lib/ovn/ovnnb_db.db.new /usr/share/ovn/ovn-nb.ovsschema ssl:172.30.0.11:6643
mv /var/lib/ovn/ovnnb_db.db.new /var/lib/ovn/ovnnb_db.db
sync -f /var/lib/ovn/ovnnb_db.db
echo "the database is new"
