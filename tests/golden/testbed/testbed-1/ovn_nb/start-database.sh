#!/bin/sh
# A member of the OVN_Northbound database's raft cluster. A host without the database joins its peers.
set -eu
umask 027
if [ ! -e /var/lib/ovn/ovnnb_db.db ]; then
  echo "/var/lib/ovn/ovnnb_db.db is missing, and this region has no other member to join: restore it from a backup" >&2
  exit 1
fi
rm -f /run/ovn/ovnnb_db.sock /run/ovn/ovnnb_db.ctl
# The server opens its configuration for writing.
cp /etc/scs/ovn/database.json /run/ovn/ovn_nb.json
exec ovsdb-server --config-file=/run/ovn/ovn_nb.json --unixctl=/run/ovn/ovnnb_db.ctl \
  --private-key=/etc/scs/tls/host.key --certificate=/etc/scs/tls/host.crt --ca-cert=/etc/scs/tls/ca.crt \
  -vconsole:info -vfile:off -vsyslog:off
