#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""nova-compute with libvirt's event loop registered first, and only where it finds its guests' disks.

On a host's first start, Nova connects to libvirt (to check that a new host has no guests) before it registers the loop.
That process would then get no events of guests, and detaching devices would wait for timeouts.

Nova looks for the disks of all guests of a host in one place, files or Ceph. With the other one it would not find those
of guests that are there, and make new, empty ones for some. A guest's folder remembers where its own disk is: it has a
file `disk` if it is local.

While Ceph refuses what comes from this host, since `scs node evacuate`, Nova would start the guests that it finds here,
in vain, and set them to ERROR: it waits for `scs node undrain`.
"""

import configparser
import json
import re
import sys
from pathlib import Path

# Imported first: it applies eventlet's patches.
from nova.cmd import compute  # isort: skip

import libvirt  # isort: skip

IMAGES = Path("/var/lib/nova/instances")


def misplaced(images: Path, configuration: Path) -> list[str]:
    """Guests whose own disk is a file of this host, while Nova is told that disks are in Ceph."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(configuration)
    in_ceph = parser.get("libvirt", "images_type", fallback="") == "rbd"
    return sorted(f.parent.name for f in images.glob("*/disk")) if in_ceph else []


def fenced(configuration: Path) -> str:
    """This host's address, if Ceph refuses all clients that have it; '' also if Ceph does not answer.

    Without an answer there is nothing to wait for: guests that need Ceph cannot write to it, either.
    """
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(configuration)
    user = parser.get("libvirt", "rbd_user", fallback="")
    if not user:
        return ""
    import rados

    own = {"client_mount_timeout": "10", "rados_mon_op_timeout": "10"}
    try:
        with rados.Rados(conffile="/etc/ceph/ceph.conf", rados_id=user, conf=own) as cluster:
            # as Ceph sees it, e.g. 192.0.2.7:0/3141592653
            address = re.sub(r"^(any|v1|v2):|:\d+/\d+$", "", str(cluster.get_addrs()))
            code, answer, _ = cluster.mon_command(json.dumps({"prefix": "osd blocklist ls", "format": "json"}), b"")
    except rados.Error:
        return ""
    if code:
        return ""
    # a second list follows, of ranges
    listed, _ = json.JSONDecoder().raw_decode(answer.decode().lstrip())
    return address if any(entry["addr"] == f"{address}:0/0" for entry in listed) else ""


if __name__ == "__main__":
    configuration = Path("/etc/nova/nova.conf")
    if found := misplaced(IMAGES, configuration):
        sys.exit(
            f"{len(found)} guests have their disks in {IMAGES} of this host, e.g. {found[0]}, but nova_images is rbd: "
            "set it to local, or drain the host first"
        )
    if refused := fenced(configuration):
        sys.exit(f"Ceph's blocklist has this host ({refused}): if it was evacuated, run `scs node undrain` for it")
    libvirt.virEventRegisterDefaultImpl()
    sys.argv[0] = "nova-compute"
    compute.main()
