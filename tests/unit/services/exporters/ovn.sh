#!/bin/sh
# Both databases, northd, a controller and Open vSwitch in one container, and what the exporter shows with and without.
set -eu
show() {
  echo "== $1"
  curl --silent --show-error --fail 127.0.0.1:9476/metrics
}
start() {
  "$@" -vconsole:off --detach --no-chdir --pidfile="/run/ovn/$(echo "$*" | cksum | cut -d ' ' -f 1).pid"
}
python3 /exporters/ovn_exporter.py 9476 control chassis &
until curl --silent --fail 127.0.0.1:9476/; do sleep 0.1; done
show nothing
ovsdb-tool create-cluster /var/lib/ovn/nb.db /usr/share/ovn/ovn-nb.ovsschema tcp:127.0.0.1:6643
ovsdb-tool create-cluster /var/lib/ovn/sb.db /usr/share/ovn/ovn-sb.ovsschema tcp:127.0.0.1:6644
ovsdb-tool create /var/lib/ovn/conf.db /usr/share/openvswitch/vswitch.ovsschema
start ovsdb-server /var/lib/ovn/nb.db --remote=punix:/run/ovn/nb.sock --unixctl=/run/ovn/ovnnb_db.ctl
start ovsdb-server /var/lib/ovn/sb.db --remote=punix:/run/ovn/sb.sock --unixctl=/run/ovn/ovnsb_db.ctl
start ovsdb-server /var/lib/ovn/conf.db --remote=punix:/run/openvswitch/db.sock --unixctl=/run/openvswitch/server.ctl
start ovn-northd --ovnnb-db=unix:/run/ovn/nb.sock --ovnsb-db=unix:/run/ovn/sb.sock --unixctl=/run/ovn/ovn-northd.ctl
ovs-vsctl --no-wait init -- add-br br-int -- add-port br-int tap1 -- set Interface tap1 type=internal \
  -- set Open_vSwitch . external_ids:system-id=a external_ids:ovn-remote=unix:/run/ovn/sb.sock \
  external_ids:ovn-encap-type=geneve external_ids:ovn-encap-ip=127.0.0.1
ovs-vsctl --no-wait set Interface tap1 error='"could not add network device tap1"'
start ovs-vswitchd unix:/run/openvswitch/db.sock --unixctl=/run/openvswitch/ovs-vswitchd.ctl --disable-system
start ovn-controller unix:/run/openvswitch/db.sock --unixctl=/run/ovn/ovn-controller.ctl
for _ in $(seq 100); do
  [ "$(ovn-appctl --target=/run/ovn/ovn-controller.ctl connection-status)" = connected ] && break
  sleep 0.1
done
until ovn-appctl --target=/run/ovn/ovn-northd.ctl status | grep -q active; do sleep 0.1; done
show all
ovn-appctl --target=/run/ovn/ovn-northd.ctl exit
ovn-appctl --target=/run/ovn/ovnsb_db.ctl exit
sleep 1
show less
