#!/bin/sh
# Describes the bridges, then runs the switch. Idempotent: nothing is deleted, here or on a stop.
set -eu
here=${0%/*}
. "$here/bridge.env"
deadline=$(($(date +%s) + 120))
until ovs-vsctl --timeout=5 --no-wait init; do
  [ "$(date +%s)" -lt $deadline ] || {
    echo "ovsdb_server does not answer" >&2
    exit 1
  }
  sleep 0.5
done
if [ "$DATAPATH" = netdev ]; then
  # Guests send segments larger than the MTU and leave checksums to the switch; read once, at start.
  ovs-vsctl --timeout=10 --no-wait set Open_vSwitch . other_config:userspace-tso-enable=true
fi
ovs-vsctl --timeout=10 --no-wait \
  -- --may-exist add-br br-int \
  -- set Bridge br-int "datapath_type=$DATAPATH" fail_mode=secure other_config:disable-in-band=true \
  -- --may-exist add-br "$BRIDGE" -- set Bridge "$BRIDGE" "datapath_type=$DATAPATH"
rm -f /run/openvswitch/ovs-vswitchd.ctl
if [ -n "$NIC" ]; then
  ovs-vsctl --timeout=10 --no-wait \
    -- set Bridge "$BRIDGE" "other_config:hwaddr=\"$(cat "/sys/class/net/$NIC/address")\"" \
    -- --may-exist add-port "$BRIDGE" "$NIC"
  # In the background and without a parent: the address follows as soon as the switch has made the bridge's interface.
  ("$here/external-bridge.sh" &)
fi
if [ "$DATAPATH" = netdev ]; then
  ("$here/taps.sh" &)
fi
exec ovs-vswitchd unix:/run/openvswitch/db.sock --unixctl=/run/openvswitch/ovs-vswitchd.ctl \
  -vconsole:info -vfile:off -vsyslog:off
