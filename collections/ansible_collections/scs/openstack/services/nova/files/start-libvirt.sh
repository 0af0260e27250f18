#!/bin/sh
# Directories that nova-compute, QEMU (as libvirt-qemu) and libvirtd share, then libvirtd.
# `start-libvirt.sh certificates` has a libvirtd and consoles that run take new ones; QEMU reads those of migration when
# one begins.
set -eu
tls=/etc/scs/tls
install -d -o nova -g nova -m 0755 /var/lib/nova /var/lib/nova/instances
chmod 0755 /var/lib/libvirt /run/libvirt
install -d -m 0755 /etc/pki/CA /etc/pki/libvirt/private /run/libvirt/scs-migration /run/libvirt/scs-console
ln -sf $tls/ca.crt /etc/pki/CA/cacert.pem
ln -sf $tls/host.crt /etc/pki/libvirt/clientcert.pem
ln -sf $tls/host.key /etc/pki/libvirt/private/clientkey.pem
# Where libvirtd looks for new ones, whatever its configuration says.
ln -sf $tls/host.crt /etc/pki/libvirt/servercert.pem
ln -sf $tls/host.key /etc/pki/libvirt/private/serverkey.pem
# QEMU's user has keys of these two purposes and no other. Guests outlive this container, and its file system: what they
# read later is in a directory of the host.
rm -rf /etc/pki/qemu
# for_qemu PURPOSE SIDE
for_qemu() {
  install -m 0644 "$tls/$1-ca.crt" "/run/libvirt/scs-$1/ca-cert.pem"
  install -m 0644 "$tls/$1.crt" "/run/libvirt/scs-$1/$2-cert.pem"
  install -o libvirt-qemu -m 0400 "$tls/$1.key" "/run/libvirt/scs-$1/$2-key.pem"
}
for_qemu migration server
for_qemu migration client
for_qemu console server
if [ "${1:-}" = certificates ]; then
  # One that started without TLS has none to take, and one that ends meanwhile needs none.
  for guest in $(virsh --quiet --connect qemu:///system list --uuid); do
    virsh --quiet --connect qemu:///system domdisplay-reload "$guest" 2> /dev/null || true
  done
  exec virt-admin --connect libvirtd:///system server-update-tls libvirtd
fi
install -d -m 0700 /etc/libvirt/secrets
# The keys for disks in Ceph. Descriptions of guests name them by ids that are the same on every host.
while read -r client id; do
  umask 077
  sed -n 's/^[[:space:]]*key *= *//p' "/etc/ceph/ceph.client.$client.keyring" | tr -d '\n' > "/etc/libvirt/secrets/$id.base64"
  cat > "/etc/libvirt/secrets/$id.xml" <<END
<secret ephemeral='no' private='yes'>
  <uuid>$id</uuid>
  <usage type='ceph'><name>client.$client</name></usage>
</secret>
END
  umask 022
done < /etc/libvirt/ceph-clients.txt
exec libvirtd --listen
