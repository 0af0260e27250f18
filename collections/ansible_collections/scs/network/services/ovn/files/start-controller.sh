#!/bin/sh
# Tells ovn-controller who and where it is, in the switch's database, then runs it.
set -eu
. "${0%/*}/controller.env"
deadline=$(($(date +%s) + 120))
until ovs-vsctl --timeout=5 --no-wait init; do
  [ "$(date +%s)" -lt $deadline ] || {
    echo "ovsdb_server does not answer" >&2
    exit 1
  }
  sleep 0.5
done
ovs-vsctl --timeout=10 --no-wait set Open_vSwitch . \
  "external_ids:system-id=$HOST" \
  "external_ids:hostname=$HOST" \
  "external_ids:ovn-remote=\"$REMOTE\"" \
  "external_ids:ovn-remote-probe-interval=$PROBE_INTERVAL" \
  external_ids:ovn-encap-type=geneve \
  "external_ids:ovn-encap-ip=$ENCAP_IP" \
  external_ids:ovn-bridge=br-int \
  "external_ids:ovn-bridge-datapath-type=$DATAPATH" \
  "external_ids:ovn-bridge-mappings=\"$BRIDGE_MAPPINGS\"" \
  external_ids:ovn-monitor-all=true \
  external_ids:ovn-ofctrl-wait-before-clear=8000
if [ "$GATEWAY" = yes ]; then
  # `scs node drain` leaves the mark: routers' gateways stay away.
  if [ -z "$(ovs-vsctl --timeout=10 --no-wait --if-exists get Open_vSwitch . external_ids:scs-drained)" ]; then
    ovs-vsctl --timeout=10 --no-wait set Open_vSwitch . external_ids:ovn-cms-options=enable-chassis-as-gw
  fi
else
  ovs-vsctl --timeout=10 --no-wait remove Open_vSwitch . external_ids ovn-cms-options
fi
rm -f /run/ovn/ovn-controller.ctl
exec ovn-controller unix:/run/openvswitch/db.sock --unixctl=/run/ovn/ovn-controller.ctl \
  --private-key=/etc/scs/tls/host.key --certificate=/etc/scs/tls/host.crt --ca-cert=/etc/scs/tls/ca.crt \
  -vconsole:info -vfile:off -vsyslog:off
