#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Reads the host's network files, starts a trial of new ones, and confirms it over another connection."""

DOCUMENTATION = r"""
module: network
short_description: Configure a host's network from its links
description:
  - The action plugin of this name renders the host's C(links) on the manager and compares them with the host. It
    applies a difference on trial and confirms it over a new connection. It leaves a host without C(links) alone.
  - If the manager does not confirm in time, because it can no longer reach the host, the host rolls back by itself,
    even after a crash. Then the task fails with the reason.
  - Without consent (C(allow) in environment.yml, or C(--allow network)) it returns the difference and changes nothing.
options:
  renderer:
    description: The program that reads the files, networkd or netplan.
    type: str
    choices: [networkd, netplan]
    default: networkd
  seconds:
    description: Seconds that the host waits for the manager's confirmation after all links are up.
    type: int
    default: 60
  replaces:
    description: Files of another network configuration, or glob patterns, to remove when this one is applied.
    type: list
    elements: path
    default: []
  step:
    description: The step to run on the host. The action plugin sets this and all options below.
    type: str
    choices: [observe, try, status, confirm]
    default: observe
  own:
    description: Glob patterns of the files that the role manages.
    type: list
    elements: path
    default: []
  attempt:
    description: The files to write and to remove, and the wanted state of the links.
    type: dict
    default: {}
  program:
    description: Files that the trial needs on the host, path and text.
    type: dict
    default: {}
  expected:
    description: The wanted state of the links, to report those that differ.
    type: dict
    default: {}
  token:
    description: Identifies the trial to confirm.
    type: str
    default: ""
  not_over:
    description: The connection, as sshd names it, over which a confirmation does not count.
    type: str
    default: ""
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Configure the network
  scs.host.network:
    renderer: networkd
    seconds: 60
"""
RETURN = r"""
network:
  description: Actual or pending changes, per file and line.
  type: dict
  returned: for hosts with links
held:
  description: Whether changes are pending without consent.
  type: bool
  returned: for hosts with links
warnings_of_links:
  description: Links that are as wanted except for the carrier.
  type: list
  returned: after a change
"""

import glob
import os
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.host.plugins.module_utils.trial import Trial, read, systemctl

FOLDER = "/var/lib/scs-network"
PROGRAM = "/usr/local/libexec/scs-network"
TRIAL = Trial(FOLDER, PROGRAM, "scs-network-try.service", "a new network")
RESOLV_CONF = "/etc/resolv.conf"


def observe(module: AnsibleModule) -> dict[str, Any]:
    """The state of files and daemons."""
    renderer = module.params["renderer"]
    needs = {"networkd": ["networkctl"], "netplan": ["networkctl", "netplan"]}[renderer]
    resolved = systemctl("is-active", "systemd-resolved.service")
    patterns = module.params["own"] + module.params["replaces"]
    paths = sorted({path for pattern in patterns for path in glob.glob(pattern) if os.path.isfile(path)})
    if not resolved and os.path.isfile(RESOLV_CONF):
        paths.append(RESOLV_CONF)
    trying = TRIAL.busy()
    return {
        "files": {path: read(path) for path in paths},
        "active": systemctl("is-active", "systemd-networkd.service"),
        "enabled": systemctl("is-enabled", "systemd-networkd.service"),
        "resolved": resolved,
        "missing": [name for name in ["ip", *needs] if not shutil.which(name)],
        "trying": trying,
        "faults": [] if trying else faults(module.params["expected"]),
    }


def faults(expected: dict[str, Any]) -> list[str]:
    """Links that differ from an earlier run's result; empty without an earlier run."""
    if not expected or not os.path.exists(f"{FOLDER}/current.json"):
        return []
    program = TRIAL.functions()
    now = program.kernel()
    links, files = expected["links"], expected["network_files"]
    problems: list[str] = program.missing(links, {"links": {}}, now, program.network_states(), files)[0]
    return problems


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        {
            "renderer": {"type": "str", "choices": ["networkd", "netplan"], "default": "networkd"},
            "seconds": {"type": "int", "default": 60},
            "replaces": {"type": "list", "elements": "path", "default": []},
            "step": {"type": "str", "choices": ["observe", "try", "status", "confirm"], "default": "observe"},
            "own": {"type": "list", "elements": "path", "default": []},
            "attempt": {"type": "dict", "default": {}},
            "program": {"type": "dict", "default": {}},
            "expected": {"type": "dict", "default": {}},
            "not_over": {"type": "str", "default": ""},
            "token": {"type": "str", "default": "", "no_log": False},
        },
        supports_check_mode=True,
    )
    try:
        TRIAL.step(module, ["scs-network-restore.service"])
        module.exit_json(changed=False, observed=observe(module))
    except OSError as error:
        module.fail_json(msg=f"network: {error}")


if __name__ == "__main__":
    main()
