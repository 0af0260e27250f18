#!/bin/sh
# Tells ovn-controller who and where it is, in the switch's database, then runs it.
set -eu
deadline=$(($(date +%s) + 120))
until ovs-vsctl --timeout=5 --no-wait init; do
  [ "$(date +%s)" -lt $deadline ] || { echo "ovsdb_server does not answer" >&2; exit 1; }
  sleep 0.5
done
ovs-vsctl --timeout=10 --no-wait set Open_vSwitch . \
  external_ids:system-id=ha-2 \
  external_ids:hostname=ha-2 \
  external_ids:ovn-remote='"ssl:172.30.2.11:6642,ssl:172.30.2.12:6642,ssl:172.30.2.13:6642"' \
  external_ids:ovn-remote-probe-interval=10000 \
  external_ids:ovn-encap-type=geneve \
  external_ids:ovn-encap-ip=172.30.3.12 \
  external_ids:ovn-bridge=br-int \
  external_ids:ovn-bridge-datapath-type=netdev \
  external_ids:ovn-bridge-mappings='"physnet1:br-ex"' \
  external_ids:ovn-monitor-all=true \
  external_ids:ovn-ofctrl-wait-before-clear=8000
# `scs node drain` leaves the mark: routers' gateways stay away.
if [ -z "$(ovs-vsctl --timeout=10 --no-wait --if-exists get Open_vSwitch . external_ids:scs-drained)" ]; then
  ovs-vsctl --timeout=10 --no-wait set Open_vSwitch . external_ids:ovn-cms-options=enable-chassis-as-gw
fi
rm -f /run/ovn/ovn-controller.ctl
exec ovn-controller unix:/run/openvswitch/db.sock --unixctl=/run/ovn/ovn-controller.ctl \
  --private-key=/etc/scs/tls/host.key --certificate=/etc/scs/tls/host.crt --ca-cert=/etc/scs/tls/ca.crt \
  -vconsole:info -vfile:off -vsyslog:off
