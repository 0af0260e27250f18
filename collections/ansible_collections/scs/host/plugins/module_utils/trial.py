# SPDX-License-Identifier: Apache-2.0
"""A change that may cut a host off: a program tries it there, and takes it back unless the manager confirms it.

The program runs as a transient unit, independent of the connection that started it. Its folder has `try.json`, the
change; `status.json`, what the program says of it; and `confirmed`, with which the manager ends the waiting.
"""

import json
import os
import subprocess
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import Any

from ansible.module_utils.basic import AnsibleModule

SETTLE = 30
"""Seconds that a host needs for its part of a trial."""


def read(path: str) -> str:
    """A file's text."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def systemctl(*arguments: str) -> bool:
    """Whether a systemctl command succeeds."""
    return subprocess.run(["systemctl", *arguments], capture_output=True, check=False).returncode == 0


class Trial:
    """A kind of trial.

    :param folder: of the program's state
    :param program: its path
    :param unit: the transient unit
    :param what: what is tried, for people
    """

    def __init__(self, folder: str, program: str, unit: str, what: str) -> None:
        self.folder, self.program, self.unit, self.what = folder, program, unit, what

    def functions(self) -> Any:
        """The installed program as a module."""
        name = os.path.basename(self.program).replace("-", "_")
        loader = SourceFileLoader(name, self.program)
        spec = spec_from_loader(name, loader)
        assert spec
        module = module_from_spec(spec)
        loader.exec_module(module)
        return module

    def step(self, module: AnsibleModule, units: "list[str]") -> None:
        """Carry out the module's step, which ends the module; C(observe) is left to the caller.

        :param units: to enable with the program
        """
        step = module.params["step"]
        if step == "try" and not module.check_mode:
            self.install(module, module.params["program"], units)
            self.start(module, module.params["attempt"])
        elif step == "status":
            module.exit_json(changed=False, status=self.state(module))
        elif step == "confirm" and not module.check_mode:
            self.confirm(module)

    def busy(self) -> bool:
        """Whether a trial is running or being taken back."""
        shown = subprocess.run(
            ["systemctl", "show", "--property=ActiveState", "--value", self.unit],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return shown.stdout.strip() not in ("inactive", "failed", "")

    def install(self, module: AnsibleModule, files: "dict[str, str]", units: "list[str]") -> None:
        """Install the program's files, path and text, and enable its units."""
        for path, text in files.items():
            if os.path.exists(path) and read(path) == text:
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            temporary = os.path.join(module.tmpdir, os.path.basename(path))
            with open(temporary, "w", encoding="utf-8") as stream:
                stream.write(text)
            module.atomic_move(temporary, path)
            os.chmod(path, 0o755 if path == self.program else 0o644)
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        for command in (["daemon-reload"], ["enable", *units]):
            done = subprocess.run(["systemctl", *command], capture_output=True, text=True, check=False)
            if done.returncode:
                module.fail_json(msg=f"systemctl {' '.join(command)}: {done.stderr.strip()}")

    def start(self, module: AnsibleModule, attempt: "dict[str, Any]") -> None:
        """Start the trial independently of this connection, which it may interrupt; ends the module."""
        path = f"{self.folder}/try.json"
        with open(path + ".new", "w", encoding="utf-8") as stream:
            json.dump(attempt, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(path + ".new", path)
        command = [
            "systemd-run", "--quiet", "--collect", f"--unit={self.unit}", f"--description=Try of {self.what}",
            # however the trial ends, even killed or stuck, the old state returns unless the new one was confirmed
            f"--property=ExecStopPost={self.program} restore",
            f"--property=RuntimeMaxSec={int(attempt['seconds']) + 3 * SETTLE}", "--property=TimeoutStopSec=120",
            "--property=OOMScoreAdjust=-900", self.program, "try",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            module.fail_json(msg=f"systemd-run: {done.stderr.strip() or done.stdout.strip()}")
        module.exit_json(changed=True, connection=os.environ.get("SSH_CONNECTION", ""))

    def state(self, module: AnsibleModule) -> "dict[str, Any]":
        """The state of the trial with the module's token."""
        try:
            status: dict[str, Any] = json.loads(read(f"{self.folder}/status.json"))
        except FileNotFoundError:
            status = {}
        if status.get("token") != module.params["token"]:
            if not self.busy():
                module.fail_json(msg=f"the trial of {self.what} ended without a result: journalctl -u {self.unit}")
            status = {"state": "starting", "problems": [], "warnings": []}
        return status

    def confirm(self, module: AnsibleModule) -> None:
        """Confirm that the manager reaches the host, and wait until the program accepts it; ends the module."""
        not_over = module.params["not_over"]
        if not_over and os.environ.get("SSH_CONNECTION", "") == not_over:
            module.fail_json(msg=f"this connection is older than {self.what}, so it proves nothing")
        if self.state(module)["state"] == "ready":
            with open(f"{self.folder}/confirmed", "w", encoding="utf-8") as stream:
                stream.write(module.params["token"])
        end = time.monotonic() + SETTLE
        while self.state(module)["state"] == "ready" and time.monotonic() < end:
            time.sleep(0.1)
        module.exit_json(changed=False, status=self.state(module))
