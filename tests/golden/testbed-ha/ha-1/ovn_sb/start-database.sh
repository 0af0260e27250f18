#!/bin/sh
# A member of the OVN_Southbound database's raft cluster. A host without the database joins its peers.
set -eu
umask 027
if [ ! -e /var/lib/ovn/ovnsb_db.db ]; then
  rm -f /var/lib/ovn/ovnsb_db.db.new
  ovsdb-tool join-cluster /var/lib/ovn/ovnsb_db.db.new OVN_Southbound ssl:172.30.2.11:6644 ssl:172.30.2.12:6644 ssl:172.30.2.13:6644
  mv /var/lib/ovn/ovnsb_db.db.new /var/lib/ovn/ovnsb_db.db
fi
rm -f /run/ovn/ovnsb_db.sock /run/ovn/ovnsb_db.ctl
# The server opens its configuration for writing.
cp /etc/scs/ovn/database.json /run/ovn/ovn_sb.json
exec ovsdb-server --config-file=/run/ovn/ovn_sb.json --unixctl=/run/ovn/ovnsb_db.ctl \
  --private-key=/etc/scs/tls/host.key --certificate=/etc/scs/tls/host.crt --ca-cert=/etc/scs/tls/ca.crt \
  -vconsole:info -vfile:off -vsyslog:off
