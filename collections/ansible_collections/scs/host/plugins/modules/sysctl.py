#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Sets kernel parameters that differ, now and for the next boot, in one task."""

DOCUMENTATION = r"""
module: sysctl
short_description: Set kernel parameters that differ
description:
  - Compares the running kernel's values with the wanted ones and writes only those that differ.
  - Stores them in /etc/sysctl.d/60-scs.conf for the next boot.
options:
  network:
    description: Parameters of the network namespace, by name.
    type: dict
    default: {}
  machine:
    description: Parameters of the whole machine; not set if the host is a container.
    type: dict
    default: {}
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Let services listen on addresses that another host holds
  scs.host.sysctl:
    network:
      net.ipv4.ip_nonlocal_bind: 1
"""
RETURN = r"""
set:
  description: Parameters changed in the running kernel, with their value before and after.
  type: dict
  returned: always
skipped_parameters:
  description: Parameters not set because the host is a container.
  type: list
  returned: always
"""

import os

from ansible.module_utils.basic import AnsibleModule

FILE = "/etc/sysctl.d/60-scs.conf"
CONTAINER = "/run/systemd/container"


def kernel_path(name: str) -> str:
    """The path of a parameter in /proc/sys. A slash in its name means a dot in an interface's name."""
    return "/proc/sys/" + name.translate(str.maketrans("./", "/."))


def read(path: str) -> str:
    """A file's text with collapsed white space, because the kernel separates several values by tabs."""
    with open(path) as stream:
        return " ".join(stream.read().split())


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        {"network": {"type": "dict", "default": {}}, "machine": {"type": "dict", "default": {}}},
        supports_check_mode=True,
    )
    contained = os.path.exists(CONTAINER)
    wanted = dict(module.params["network"], **({} if contained else module.params["machine"]))
    wanted = {name: " ".join(str(value).split()) for name, value in sorted(wanted.items())}
    changes = {}
    for name, value in wanted.items():
        path = kernel_path(name)
        try:
            before = read(path)
            if before != value:
                changes[name] = {"before": before, "after": value}
                if not module.check_mode:
                    with open(path, "w") as stream:
                        stream.write(value)
        except OSError as error:
            module.fail_json(msg=f"{name}: {error.strerror} ({path})")

    text = "# written by scs bootstrap\n" + "".join(f"{n} = {v}\n" for n, v in wanted.items())
    try:
        with open(FILE) as stream:
            old = stream.read()
    except OSError:
        old = ""
    if old != text and not module.check_mode:
        module.atomic_move(_temporary(module, text), FILE)
    module.exit_json(
        changed=bool(changes) or old != text,
        set=changes,
        skipped_parameters=sorted(module.params["machine"]) if contained else [],
        diff={"before": old, "after": text, "before_header": FILE, "after_header": FILE},
    )


def _temporary(module: AnsibleModule, text: str) -> str:
    path = os.path.join(module.tmpdir, "sysctl")
    with open(path, "w") as stream:
        stream.write(text)
    os.chmod(path, 0o644)
    return path


if __name__ == "__main__":
    main()
