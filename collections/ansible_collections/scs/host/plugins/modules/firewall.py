#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Reads the host's packet filter, starts a trial of new rules, and confirms it over another connection."""

DOCUMENTATION = r"""
module: firewall
short_description: Set a host's packet filter from what its services declare
description:
  - The action plugin of this name computes the rules on the manager and compares them with the host. It applies a
    difference on trial and confirms it over a new connection.
  - If the manager does not confirm in time, because it can no longer reach the host, the host loads the rules from
    before by itself, even after a crash. Then the task fails with the reason.
options:
  seconds:
    description: Seconds that the host waits for the manager's confirmation.
    type: int
    default: 30
  step:
    description: The step to run on the host. The action plugin sets this and all options below.
    type: str
    choices: [observe, try, status, confirm]
    default: observe
  attempt:
    description: The rules to load, and the managers that connected.
    type: dict
    default: {}
  program:
    description: Files that the trial needs on the host, path and text.
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
- name: Set the packet filter
  scs.host.firewall:
    seconds: 30
"""
RETURN = r"""
reasons:
  description: Why the rules are loaded.
  type: list
  returned: always
"""

import os
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.host.plugins.module_utils.trial import Trial, read, systemctl

PROGRAM = "/usr/local/libexec/scs-firewall"
RULES, MANAGERS = "/etc/scs-firewall/rules.nft", "/etc/scs-firewall/managers"
LOADED = "/var/lib/scs-firewall/loaded"
UNIT = "scs-firewall.service"
TRIAL = Trial("/var/lib/scs-firewall", PROGRAM, "scs-firewall-try.service", "new firewall rules")


def text(path: str) -> "str | None":
    """A file's text; None if it does not exist."""
    return read(path) if os.path.exists(path) else None


def fingerprint() -> str:
    """Of the rules in the kernel; empty: none, or the program is missing."""
    if not os.path.exists(PROGRAM):
        return ""
    return str(TRIAL.functions().fingerprint())


def observe(program: "dict[str, str]") -> "dict[str, Any]":
    """The state of files, kernel and unit."""
    now = fingerprint()
    return {
        "rules": text(RULES),
        "managers": text(MANAGERS),
        "loaded": bool(now),
        "intact": bool(now) and now == text(LOADED),
        "enabled": systemctl("is-enabled", UNIT),
        "active": systemctl("is-active", UNIT),
        "program": all(text(path) == wanted for path, wanted in program.items()),
        "missing": [] if shutil.which("nft") else ["nft"],
        "trying": TRIAL.busy(),
        "connection": os.environ.get("SSH_CONNECTION", ""),
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        {
            "seconds": {"type": "int", "default": 30},
            "step": {"type": "str", "choices": ["observe", "try", "status", "confirm"], "default": "observe"},
            "attempt": {"type": "dict", "default": {}},
            "program": {"type": "dict", "default": {}},
            "not_over": {"type": "str", "default": ""},
            "token": {"type": "str", "default": "", "no_log": False},
        },
        supports_check_mode=True,
    )
    try:
        TRIAL.step(module, [UNIT])
        module.exit_json(changed=False, observed=observe(module.params["program"]))
    except OSError as error:
        module.fail_json(msg=f"firewall: {error}")


if __name__ == "__main__":
    main()
