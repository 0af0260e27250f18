#!/bin/sh
# libvirt with a guest that runs, stands still and ends, and what the exporter shows of it each time.
set -eu
show() {
  echo "== $1"
  curl --silent --show-error --fail 127.0.0.1:9177/metrics
}
cat > /run/guest.xml <<'X'
<domain type='qemu'><name>instance-00000001</name><memory unit='MiB'>64</memory><vcpu>2</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>
X
# a container without control groups
cat > /etc/libvirt/qemu.conf <<'X'
user = "root"
group = "root"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
security_driver = "none"
remember_owner = 0
X
libvirtd --daemon
python3 /exporters/libvirt_exporter.py 9177 &
until virsh --quiet version > /dev/null 2>&1; do sleep 0.2; done
virsh --quiet create /run/guest.xml
show running
virsh --quiet suspend instance-00000001
show paused
sed -i "s/<domstatus state='paused' reason='user'/<domstatus state='paused' reason='ioerror'/" /run/libvirt/qemu/instance-00000001.xml
echo '<domstatus' > /run/libvirt/qemu/instance-00000002.xml
show ioerror
