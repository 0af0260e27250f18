#!/bin/sh
# Another member leads before the leader stops. Otherwise an election follows, and clients that need the leader ask one
# member after the other meanwhile, up to eight seconds apart: Neutron's writes hang for that long.
# Source: ovs-appctl's cluster/failure-test, OVS 2.16 and later (ovsdb/raft.c, raft_transfer_leadership).
. "${0%/*}/database.env"
leads() {
  ovs-appctl --timeout=5 --target="$CTL" cluster/status "$SCHEMA" | grep -q '^Role: leader$'
}
tries=0
while leads && [ $tries -lt 20 ]; do
  ovs-appctl --timeout=5 --target="$CTL" cluster/failure-test transfer-leadership
  tries=$((tries + 1))
  sleep 0.5
done
