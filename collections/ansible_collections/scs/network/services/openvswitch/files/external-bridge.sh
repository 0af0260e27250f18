#!/bin/sh
# Moves the provider interface's address and routes to the external bridge, at every start of the switch: the userspace
# datapath's bridge interface is gone with its process, and a reboot gives the address back to the NIC.
set -eu
. "${0%/*}/bridge.env"
saved=/var/lib/openvswitch/$BRIDGE.routes
deadline=$(($(date +%s) + 120))
until ovs-appctl --timeout=5 --target=/run/openvswitch/ovs-vswitchd.ctl version >/dev/null 2>&1 \
  && [ "$(ovs-vsctl --timeout=5 --no-wait get Interface "$BRIDGE" ofport 2>/dev/null)" = 65534 ] \
  && ip link show "$BRIDGE" >/dev/null 2>&1; do
  [ "$(date +%s)" -lt $deadline ] || {
    echo "$BRIDGE did not appear" >&2
    exit 1
  }
  sleep 0.2
done
[ -z "$NIC" ] || ip link set "$NIC" up
ip link set "$BRIDGE" up
[ -n "$ADDRESS" ] || exit 0
address=$ADDRESS/$PREFIX
if ip -oneline address show dev "$NIC" | grep -q "inet6\? $address "; then
  # Routes that name the NIC would be lost with the address; the kernel makes the connected one again by itself.
  ip route show dev "$NIC" | grep -v 'proto kernel' > "$saved.new" || true
  mv "$saved.new" "$saved"
  ip address del "$address" dev "$NIC"
fi
ip address replace "$address" dev "$BRIDGE"
if [ -e "$saved" ]; then
  while read -r route; do
    # shellcheck disable=SC2086 # a route is several words
    ip route replace $route dev "$BRIDGE"
  done < "$saved"
fi
echo "$BRIDGE has $address"
