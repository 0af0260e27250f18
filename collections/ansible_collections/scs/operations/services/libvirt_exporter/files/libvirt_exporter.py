#!/usr/bin/python3 -S
# SPDX-License-Identifier: Apache-2.0
"""Metrics of the guests that run on this host, from the files in which libvirt keeps their state.

Takes the port to show them at. It only reads these files: who may ask libvirt's socket may also stop guests.
Source: https://libvirt.org/formatdomain.html; the file is that of `virDomainObjFormat` in libvirt's domain_conf.c
"""

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from exposition import Sample, serve, text

FOLDER = Path("/run/libvirt/qemu")
STATES = ("running", "paused", "crashed")

HELP = {
    "libvirt_guests": "guests with a process on this host, by state",
    "libvirt_guests_failed_io": "guests that libvirt paused because they could not write to a disk",
    "libvirt_guests_memory_bytes": "memory of these guests",
    "libvirt_guests_vcpus": "virtual processors of these guests",
    "libvirt_guests_unreadable": "guests whose state could not be read",
}


def samples(folder: Path) -> Iterator[Sample]:
    """Sums over all guests.

    :raises OSError: libvirt has no folder: it never ran here
    """
    states = Counter(dict.fromkeys(STATES, 0))
    failed = unreadable = 0
    memory = vcpus = 0.0
    for file in sorted(f for f in folder.iterdir() if f.suffix == ".xml"):
        try:
            root = ElementTree.parse(file).getroot()
            if root.tag != "domstatus":
                continue
            states[root.get("state", "")] += 1
            failed += root.get("reason") == "ioerror"
            memory += 1024 * float(root.findtext("domain/currentMemory") or 0)
            vcpus += float(root.findtext("domain/vcpu") or 0)
        except FileNotFoundError:
            # it has just ended
            continue
        except (ElementTree.ParseError, OSError, ValueError) as error:
            print(f"{file}: {error}", file=sys.stderr, flush=True)
            unreadable += 1
    for state, number in states.items():
        yield "libvirt_guests", {"state": state}, number
    yield "libvirt_guests_failed_io", {}, failed
    yield "libvirt_guests_memory_bytes", {}, memory
    yield "libvirt_guests_vcpus", {}, vcpus
    yield "libvirt_guests_unreadable", {}, unreadable


if __name__ == "__main__":
    serve(int(sys.argv[1]), lambda: text(samples(FOLDER), HELP))
