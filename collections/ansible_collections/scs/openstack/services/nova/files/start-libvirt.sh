#!/bin/sh
# Directories that nova-compute, QEMU (as libvirt-qemu) and libvirtd share, then libvirtd.
# `start-libvirt.sh certificates` has a libvirtd that runs take new ones; QEMU reads its own when a migration begins.
set -eu
install -d -o nova -g nova -m 0755 /var/lib/nova /var/lib/nova/instances
chmod 0755 /var/lib/libvirt /run/libvirt
# One certificate, where libvirt as a client and QEMU, as its own user, look for theirs.
install -d -m 0755 /etc/pki/CA /etc/pki/libvirt/private /etc/pki/qemu
ln -sf /etc/scs/tls/ca.crt /etc/pki/CA/cacert.pem
ln -sf /etc/scs/tls/host.crt /etc/pki/libvirt/clientcert.pem
ln -sf /etc/scs/tls/host.key /etc/pki/libvirt/private/clientkey.pem
# Where libvirtd looks for new ones, whatever its configuration says.
ln -sf /etc/scs/tls/host.crt /etc/pki/libvirt/servercert.pem
ln -sf /etc/scs/tls/host.key /etc/pki/libvirt/private/serverkey.pem
install -m 0644 /etc/scs/tls/ca.crt /etc/pki/qemu/ca-cert.pem
for side in server client; do
  install -m 0644 /etc/scs/tls/host.crt /etc/pki/qemu/$side-cert.pem
  install -o libvirt-qemu -m 0400 /etc/scs/tls/host.key /etc/pki/qemu/$side-key.pem
done
if [ "${1:-}" = certificates ]; then
  exec virt-admin --connect libvirtd:///system server-update-tls libvirtd
fi
exec libvirtd --listen
