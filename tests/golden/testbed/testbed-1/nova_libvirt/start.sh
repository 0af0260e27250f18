#!/bin/sh
# Directories that nova-compute, QEMU (as libvirt-qemu) and libvirtd share, then libvirtd.
set -eu
install -d -o nova -g nova -m 0755 /var/lib/nova /var/lib/nova/instances
chmod 0755 /var/lib/libvirt /run/libvirt
exec libvirtd
