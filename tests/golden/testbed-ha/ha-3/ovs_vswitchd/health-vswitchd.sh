#!/bin/sh
# The switch answers, its ports have no error, and the external bridge has the host's provider address.
set -eu
ovs-appctl --timeout=5 --target=/run/openvswitch/ovs-vswitchd.ctl dpif/show >/dev/null
for port in br-int br-ex eth1; do
  [ "$(ovs-vsctl --timeout=5 --no-wait get Interface "$port" error)" = '[]' ]
done
ip -oneline address show dev br-ex to 172.30.3.13 | grep -q .
