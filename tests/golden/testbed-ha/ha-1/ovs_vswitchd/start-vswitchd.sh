#!/bin/sh
# Describes the bridges, then runs the switch. Idempotent: nothing is deleted, here or on a stop.
set -eu
deadline=$(($(date +%s) + 120))
until ovs-vsctl --timeout=5 --no-wait init; do
  [ "$(date +%s)" -lt $deadline ] || { echo "ovsdb_server does not answer" >&2; exit 1; }
  sleep 0.5
done
# Guests send segments larger than the MTU and leave checksums to the switch; read once, at start.
ovs-vsctl --timeout=10 --no-wait set Open_vSwitch . other_config:userspace-tso-enable=true
ovs-vsctl --timeout=10 --no-wait \
  -- --may-exist add-br br-int -- set Bridge br-int datapath_type=netdev fail_mode=secure other_config:disable-in-band=true \
  -- --may-exist add-br br-ex -- set Bridge br-ex datapath_type=netdev
rm -f /run/openvswitch/ovs-vswitchd.ctl
ovs-vsctl --timeout=10 --no-wait \
  -- set Bridge br-ex other_config:hwaddr="\"$(cat /sys/class/net/eth1/address)\"" \
  -- --may-exist add-port br-ex eth1
# In the background and without a parent: the address follows as soon as the switch has made the bridge's interface.
(/etc/openvswitch/external-bridge.sh &)
(/etc/openvswitch/taps.sh &)
exec ovs-vswitchd unix:/run/openvswitch/db.sock --unixctl=/run/openvswitch/ovs-vswitchd.ctl \
  -vconsole:info -vfile:off -vsyslog:off
