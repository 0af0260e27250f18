#!/bin/sh
# Has a switch's database that an earlier scs started serve the sockets of Nova and Neutron, as a later start does.
set -eu
run=/run/openvswitch
ctl() {
  ovs-appctl --timeout=10 --target=$run/ovsdb-server.ctl "$@"
}
remotes=$(ctl ovsdb-server/list-remotes)
for group in nova neutron; do
  socket=$run/$group/db.sock
  [ "$(stat -c '%G %a' $socket 2> /dev/null)" != "$group 770" ] || continue
  mkdir -p $run/$group
  chgrp $group $run/$group
  chmod 0750 $run/$group
  case $remotes in
    *punix:$socket*) ;;
    *) ctl ovsdb-server/add-remote punix:$socket ;;
  esac
  # it answers before it listens
  tries=0
  until [ -S $socket ] || [ $tries -ge 50 ]; do
    tries=$((tries + 1))
    sleep 0.2
  done
  chgrp $group $socket
  chmod 0770 $socket
done
