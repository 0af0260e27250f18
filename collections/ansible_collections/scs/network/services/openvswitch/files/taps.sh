#!/bin/sh
# Sets guests' interfaces up that the userspace switch set down by mistake; runs as long as the switch.
# For a new port it adds IFF_PROMISC to the flags that it read last. When libvirt has set the interface up since, that is
# undone, and the guest has no network (Open vSwitch 3.5, lib/netdev-linux.c: update_flags).
set -u
database=unix:/run/openvswitch/db.sock
mend() {
  for port in $(ovs-vsctl --timeout=5 --bare --columns=name find Interface admin_state=down 'external_ids:iface-status=active'); do
    case $port in
      tap*) ip link set dev "$port" up && echo "$port was down: it is up again" ;;
    esac
  done
}
while :; do
  # one line for each interface, then one for each change
  ovsdb-client --no-headings --format=csv monitor "$database" Open_vSwitch Interface admin_state,external_ids 2> /dev/null \
    | while read -r line; do
      case $line in *,down,*) mend ;; esac
    done
  sleep 1
done
