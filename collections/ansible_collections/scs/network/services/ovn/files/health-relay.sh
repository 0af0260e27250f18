#!/bin/sh
# Connected to a member of the southbound database's cluster.
exec ovsdb-client --timeout=5 wait unix:/run/ovn/ovn_sb_relay.sock OVN_Southbound connected
