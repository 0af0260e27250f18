#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the guest image from Debian packages. Runs in a container of the base image, in a folder with init and
# udhcpc.script; `kernel` prints the kernel package that apt would take, `build` leaves guest.qcow2 and guest.json here.
set -eu
export DEBIAN_FRONTEND=noninteractive
here=$(dirname "$(readlink -f "$0")")
cd "$here"

update() { apt-get update -qq; }

kernel() {
    apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1
}

version() { apt-cache policy "$1" | sed -n 's/^ *Candidate: //p'; }

say() { echo "progress: $*"; }

tools() {
    apt-get install -qq -y --no-install-recommends \
        busybox-static syslinux syslinux-common mtools dosfstools cpio xz-utils qemu-utils fdisk kmod >/dev/null
}

unpack_kernel() {
    (cd "$work" && apt-get download -qq "$1" && dpkg-deb -x linux-image-*.deb kernel)
    [ -e "$work/kernel/lib" ] || ln -s usr/lib "$work/kernel/lib"
    release=$(ls "$work/kernel/lib/modules")
    depmod -b "$work/kernel" "$release"
}

# The modules that a guest on any of Nova's virtio models needs, dependencies first, names numbered in that order.
modules() {
    count=0
    for module in virtio_pci virtio_net virtio_blk virtio_scsi sd_mod virtio_rng; do
        modprobe -d "$work/kernel" -S "$release" --show-depends "$module"
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r file; do
        count=$((count + 1))
        name=$(basename "$file")
        target=$root/lib/modules/$(printf '%02d-%s' "$count" "${name%%.ko*}").ko
        case $file in
            *.xz) xz -dc "$file" >"$target" ;;
            *.zst) zstd -qdc "$file" >"$target" ;;
            *) cp "$file" "$target" ;;
        esac
    done
}

root_filesystem() {
    mkdir -p "$root/bin" "$root/sbin" "$root/proc" "$root/sys" "$root/dev" "$root/etc" "$root/tmp" \
        "$root/lib/modules" "$root/www"
    cp "$(command -v busybox)" "$root/bin/busybox"
    busybox --list | while read -r applet; do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    install -m 0755 init "$root/init"
    install -m 0755 udhcpc.script "$root/etc/udhcpc.script"
    modules
    (cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0 | gzip -9n) >"$work/initrd.gz"
}

# One FAT partition with syslinux: boots from BIOS, and nothing here needs a loop device or a mount.
disk() {
    cp "$work"/kernel/boot/vmlinuz-* "$work/vmlinuz"
    bytes=$(($(stat -c %s "$work/vmlinuz") + $(stat -c %s "$work/initrd.gz")))
    megabytes=$((bytes / 1048576 + 4))
    truncate -s "${megabytes}M" "$work/part"
    mkfs.vfat -n SCS-GUEST "$work/part" >/dev/null
    cat >"$work/syslinux.cfg" <<'EOF'
SERIAL 0 115200
DEFAULT guest
PROMPT 0
TIMEOUT 1
LABEL guest
  KERNEL /vmlinuz
  APPEND initrd=/initrd.gz console=tty0 console=ttyS0,115200 quiet panic=10
EOF
    for file in vmlinuz initrd.gz syslinux.cfg; do mcopy -i "$work/part" "$work/$file" "::/$file"; done
    syslinux --install "$work/part"
    truncate -s "$((megabytes + 1))M" "$work/disk"
    echo '2048,,e,*' | sfdisk -q "$work/disk"
    dd if="$work/part" of="$work/disk" bs=512 seek=2048 conv=notrunc status=none
    dd if=/usr/lib/syslinux/mbr/mbr.bin of="$work/disk" bs=440 count=1 conv=notrunc status=none
    qemu-img convert -c -O qcow2 "$work/disk" guest.qcow2
}

build() {
    work=$(mktemp -d)
    root=$work/root
    chmod 0755 "$work" # apt drops its privileges to download
    say 'read package lists'
    update
    package=$(kernel)
    say "install tools"
    tools
    say "unpack $package"
    unpack_kernel "$package"
    root_filesystem
    say 'write disk'
    disk
    printf '{"package": "%s", "version": "%s"}\n' "$package" "$(version "$package")" >guest.json
    rm -r "$work"
}

case ${1-} in
    kernel) update && version "$(kernel)" ;;
    build) build ;;
    *) echo "usage: build.sh kernel|build" >&2 && exit 2 ;;
esac
