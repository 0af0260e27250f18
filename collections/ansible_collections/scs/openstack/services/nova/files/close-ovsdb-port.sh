#!/bin/sh
# Closes the loopback port of the switch's database for good: every process of this host that used it has a socket now.
set -eu
if [ -n "$(ss --no-header --tcp --numeric state established "( dport = :6640 )")" ]; then
  echo "a process of this host still uses port 6640 of the switch's database: scs apply neutron nova" >&2
  exit 1
fi
run=/run/openvswitch
ovsdb-client --timeout=10 transact unix:$run/db.sock '["Open_vSwitch", {"op": "mutate", "table": "Open_vSwitch", "where": [],
  "mutations": [["external_ids", "insert", ["map", [["scs-ovsdb-port", "closed"]]]]]}]' > /dev/null
remote=ptcp:6640:127.0.0.1
ctl() {
  ovs-appctl --timeout=10 --target=$run/ovsdb-server.ctl "$@"
}
if ctl ovsdb-server/list-remotes | grep -qxF $remote; then
  ctl ovsdb-server/remove-remote $remote
fi
