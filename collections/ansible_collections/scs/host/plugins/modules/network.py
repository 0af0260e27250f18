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
import json
import os
import shutil
import subprocess
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import Any

from ansible.module_utils.basic import AnsibleModule

FOLDER = "/var/lib/scs-network"
PROGRAM, UNIT = "/usr/local/libexec/scs-network", "scs-network-try.service"
SETTLE = 30
RESOLV_CONF = "/etc/resolv.conf"


def read(path: str) -> str:
    """A file's text."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def systemctl(*arguments: str) -> bool:
    """Whether a systemctl command succeeds."""
    return subprocess.run(["systemctl", *arguments], capture_output=True, check=False).returncode == 0


def busy() -> bool:
    """Whether a trial is running or being rolled back."""
    shown = subprocess.run(
        ["systemctl", "show", "--property=ActiveState", "--value", UNIT], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip() not in ("inactive", "failed", "")


def observe(module: AnsibleModule) -> dict[str, Any]:
    """The state of files and daemons."""
    renderer = module.params["renderer"]
    needs = {"networkd": ["networkctl"], "netplan": ["networkctl", "netplan"]}[renderer]
    resolved = systemctl("is-active", "systemd-resolved.service")
    patterns = module.params["own"] + module.params["replaces"]
    paths = sorted({path for pattern in patterns for path in glob.glob(pattern) if os.path.isfile(path)})
    if not resolved and os.path.isfile(RESOLV_CONF):
        paths.append(RESOLV_CONF)
    trying = busy()
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
    loader = SourceFileLoader("scs_network", PROGRAM)
    spec = spec_from_loader("scs_network", loader)
    assert spec
    program = module_from_spec(spec)
    loader.exec_module(program)
    now = program.kernel()
    links, files = expected["links"], expected["network_files"]
    problems: list[str] = program.missing(links, {"links": {}}, now, program.network_states(), files)[0]
    return problems


def install(module: AnsibleModule) -> None:
    """Install the program and its unit."""
    for path, text in module.params["program"].items():
        if os.path.exists(path) and read(path) == text:
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = os.path.join(module.tmpdir, os.path.basename(path))
        with open(temporary, "w", encoding="utf-8") as stream:
            stream.write(text)
        module.atomic_move(temporary, path)
        os.chmod(path, 0o755 if path == PROGRAM else 0o644)
    os.makedirs(FOLDER, mode=0o700, exist_ok=True)
    for command in (["daemon-reload"], ["enable", "scs-network-restore.service"]):
        done = subprocess.run(["systemctl", *command], capture_output=True, text=True, check=False)
        if done.returncode:
            module.fail_json(msg=f"systemctl {' '.join(command)}: {done.stderr.strip()}")


def start(module: AnsibleModule) -> None:
    """Start the trial independently of this connection, which it may interrupt."""
    install(module)
    attempt = module.params["attempt"]
    path = f"{FOLDER}/try.json"
    with open(path + ".new", "w", encoding="utf-8") as stream:
        json.dump(attempt, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(path + ".new", path)
    command = [
        "systemd-run", "--quiet", "--collect", f"--unit={UNIT}", "--description=Try of a new network",
        # however the trial ends, even killed or stuck, the old network returns unless the new one was confirmed
        f"--property=ExecStopPost={PROGRAM} restore",
        f"--property=RuntimeMaxSec={int(attempt['seconds']) + 3 * SETTLE}", "--property=TimeoutStopSec=120",
        "--property=OOMScoreAdjust=-900", PROGRAM, "try",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        module.fail_json(msg=f"systemd-run: {done.stderr.strip() or done.stdout.strip()}")
    module.exit_json(changed=True, connection=os.environ.get("SSH_CONNECTION", ""))


def state(module: AnsibleModule) -> dict[str, Any]:
    """The state of the trial with the given token."""
    try:
        status: dict[str, Any] = json.loads(read(f"{FOLDER}/status.json"))
    except FileNotFoundError:
        status = {}
    if status.get("token") != module.params["token"]:
        if not busy():
            module.fail_json(msg="the trial of the new network ended without a result: journalctl -u " + UNIT)
        status = {"state": "starting", "problems": [], "warnings": []}
    return status


def confirm(module: AnsibleModule) -> None:
    """Confirm that the manager reaches the host, and wait until the program accepts it."""
    not_over = module.params["not_over"]
    if not_over and os.environ.get("SSH_CONNECTION", "") == not_over:
        module.fail_json(msg="this connection was opened before the network changed, so it proves nothing")
    if state(module)["state"] == "ready":
        with open(f"{FOLDER}/confirmed", "w", encoding="utf-8") as stream:
            stream.write(module.params["token"])
    end = time.monotonic() + SETTLE
    while state(module)["state"] == "ready" and time.monotonic() < end:
        time.sleep(0.1)
    module.exit_json(changed=False, status=state(module))


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
    step = module.params["step"]
    try:
        if step == "try" and not module.check_mode:
            start(module)
        elif step == "status":
            module.exit_json(changed=False, status=state(module))
        elif step == "confirm" and not module.check_mode:
            confirm(module)
        module.exit_json(changed=False, observed=observe(module))
    except OSError as error:
        module.fail_json(msg=f"network: {error}")


if __name__ == "__main__":
    main()
