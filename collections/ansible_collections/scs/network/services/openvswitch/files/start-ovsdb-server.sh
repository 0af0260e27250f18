#!/bin/sh
# start-ovsdb-server.sh AGENTS: the switch's database, created when new, converted when the image brings a newer schema.
# AGENTS: yes where other processes than root's use it.
set -eu
run=/run/openvswitch
db=/var/lib/openvswitch/conf.db
schema=/usr/share/openvswitch/vswitch.ovsschema
set -- "$1" --remote=punix:$run/db.sock
# Processes of an earlier scs know the port only. nova's job `close_ovsdb_port` leaves the mark when they are gone.
closed() {
  ovsdb-tool query $db '["Open_vSwitch", {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["external_ids"]}]' \
    | grep -q '"scs-ovsdb-port","closed"'
}
if [ "$1" = yes ] && [ -e $db ] && ! closed; then
  set -- "$@" --remote=ptcp:6640:127.0.0.1
fi
if [ ! -e $db ]; then
  rm -f $db.new
  ovsdb-tool create $db.new $schema
  mv $db.new $db
elif [ "$(ovsdb-tool needs-conversion $db $schema)" = yes ]; then
  ovsdb-tool convert $db $schema
fi
# os-vif and the metadata agent are not root: one socket each, in a folder that hands its group on to it.
if [ "$1" = yes ]; then
  for group in nova neutron; do
    mkdir -p $run/$group
    chgrp $group $run/$group
    chmod 2750 $run/$group
    rm -f $run/$group/db.sock
    set -- "$@" --remote=punix:$run/$group/db.sock
  done
fi
shift
rm -f $run/db.sock $run/ovsdb-server.ctl
umask 007
exec ovsdb-server $db "$@" --unixctl=$run/ovsdb-server.ctl -vconsole:info -vfile:off -vsyslog:off
