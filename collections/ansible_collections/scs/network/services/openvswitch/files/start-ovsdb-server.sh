#!/bin/sh
# The switch's database: created when new, converted when the image brings a newer schema.
set -eu
db=/var/lib/openvswitch/conf.db
schema=/usr/share/openvswitch/vswitch.ovsschema
if [ ! -e $db ]; then
  rm -f $db.new
  ovsdb-tool create $db.new $schema
  mv $db.new $db
elif [ "$(ovsdb-tool needs-conversion $db $schema)" = yes ]; then
  ovsdb-tool convert $db $schema
fi
rm -f /run/openvswitch/db.sock /run/openvswitch/ovsdb-server.ctl
# Loopback TCP is for processes that are not root: os-vif and the metadata agent.
exec ovsdb-server $db --remote=punix:/run/openvswitch/db.sock --remote=ptcp:6640:127.0.0.1 \
  --unixctl=/run/openvswitch/ovsdb-server.ctl -vconsole:info -vfile:off -vsyslog:off
