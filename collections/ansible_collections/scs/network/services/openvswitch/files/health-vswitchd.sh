#!/bin/sh
# The switch answers, its ports have no error, and the external bridge has the host's provider address.
set -eu
. "${0%/*}/bridge.env"
ovs-appctl --timeout=5 --target=/run/openvswitch/ovs-vswitchd.ctl dpif/show >/dev/null
# shellcheck disable=SC2086 # an empty NIC is no port
for port in br-int "$BRIDGE" $NIC; do
  [ "$(ovs-vsctl --timeout=5 --no-wait get Interface "$port" error)" = '[]' ]
done
[ -z "$ADDRESS" ] || ip -oneline address show dev "$BRIDGE" to "$ADDRESS" | grep -q .
