#!/bin/sh
# Moves the provider interface's address and routes to the external bridge, at every start of the switch: the userspace
# datapath's bridge interface is gone with its process, and a reboot gives the address back to the NIC.
set -eu
bridge=br-ex
nic=eth1
saved=/var/lib/openvswitch/$bridge.routes
deadline=$(($(date +%s) + 120))
until ovs-appctl --timeout=5 --target=/run/openvswitch/ovs-vswitchd.ctl version >/dev/null 2>&1 \
  && [ "$(ovs-vsctl --timeout=5 --no-wait get Interface $bridge ofport 2>/dev/null)" = 65534 ] && ip link show $bridge >/dev/null 2>&1; do
  [ "$(date +%s)" -lt $deadline ] || { echo "$bridge did not appear" >&2; exit 1; }
  sleep 0.2
done
address=172.30.3.13/24
ip link set $nic up
ip link set $bridge up
if ip -oneline address show dev $nic | grep -q "inet6\? $address "; then
  # Routes that name the NIC would be lost with the address; the kernel makes the connected one again by itself.
  ip route show dev $nic | grep -v 'proto kernel' > $saved.new || true
  mv $saved.new $saved
  ip address del $address dev $nic
fi
ip address replace $address dev $bridge
if [ -e $saved ]; then
  while read -r route; do
    # shellcheck disable=SC2086 # a route is several words
    ip route replace $route dev $bridge
  done < $saved
fi
echo "$bridge has $address"
