# SPDX-License-Identifier: Apache-2.0
"""The region as an operator has it: the `scs` command, its exit codes and output, and the environment's folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

SCS = str(Path(sys.executable).with_name("scs"))
TIMEOUT = 1800


class Finished:
    """What a command did."""

    def __init__(self, command: tuple[str, ...], code: int, out: str, err: str) -> None:
        self.command, self.code, self.out, self.err = command, code, out, err

    def __str__(self) -> str:
        return f"{' '.join(self.command)}: exit {self.code}\n{self.out}\n{self.err}"

    def json(self) -> Any:
        return json.loads(self.out)


class RegionUnderTest:
    """A deployed environment."""

    def __init__(self, name: str) -> None:
        self.name = name

    def scs(self, *arguments: str, expect: int | None = 0, timeout: float = TIMEOUT) -> Finished:
        """Run `scs`; fail the test when the exit code is not `expect` (None: any)."""
        done = subprocess.run([SCS, *arguments], capture_output=True, text=True, env=self.environ, timeout=timeout)
        finished = Finished(("scs", *arguments), done.returncode, done.stdout, done.stderr)
        assert expect is None or finished.code == expect, str(finished)
        return finished

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `scs` in a process group of its own, to be interrupted."""
        return subprocess.Popen(
            [SCS, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environ,
            start_new_session=True,
        )

    def on(self, host: str, *command: str, expect: int | None = 0) -> str:
        """Run a command on a host."""
        return self.scs("console", host, *command, expect=expect, timeout=120).out

    def openstack(self, *arguments: str) -> Any:
        """Run an `openstack` command that prints JSON."""
        return self.scs("openstack", *arguments, "-f", "json", timeout=120).json()

    def plan(self) -> list[dict[str, str]]:
        """The changes of `scs plan`; checks that --exit-code tells the same."""
        finished = self.scs("plan", "--json", "--exit-code", expect=None)
        assert finished.code in (0, 3), str(finished)
        changes: list[dict[str, str]] = finished.json()["changes"]
        assert bool(changes) == (finished.code == 3), str(finished)
        return changes

    def apply(self, expect: int = 0) -> Finished:
        return self.scs("apply", "--yes", expect=expect)

    def containers(self) -> list[tuple[str, str]]:
        """(host, container) of everything that runs."""
        return [(s["host"], s["container"]) for s in self.scs("status", "--json", expect=None).json()]

    def inspect(self, host: str, container: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.on(host, "docker", "inspect", container))[0]
        return found

    def wait_healthy(self, host: str, container: str, deadline: float = 300) -> None:
        """Wait until a container runs and is healthy, where it has a health check."""

        def healthy() -> bool:
            state = self.inspect(host, container)["State"]
            return state["Running"] and state.get("Health", {}).get("Status", "healthy") == "healthy"

        wait(healthy, deadline, f"{host}/{container} is not healthy again")

    @cached_property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "SCS_ENVIRONMENT": self.name, "TERM": "dumb", "COLUMNS": "200"}

    @cached_property
    def folder(self) -> Path:
        base = os.environ.get("SCS_ENVIRONMENTS") or Path(__file__).parents[2] / "environments"
        return Path(base) / self.name

    @cached_property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((self.folder / "environment.yml").read_text())
        return found

    @cached_property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @cached_property
    def auth(self) -> dict[str, str]:
        """Credentials of the administrator, from the clouds file and the password's beside it."""
        found: dict[str, str] = {}
        for file in ("clouds.yaml", "secure.yaml"):
            clouds = yaml.safe_load((self.folder / "state" / file).read_text())["clouds"]
            found |= clouds[f"{self.name}-admin"]["auth"]
        return found

    @cached_property
    def secrets(self) -> dict[str, str]:
        """Every secret of the region, by name."""
        if file := self.settings.get("vault_password_file"):
            password = ["--vault-password-file", str(self.folder / file)]
        else:
            raise AssertionError("these tests read secrets with a vault password file only")
        vault = str(Path(sys.executable).with_name("ansible-vault"))
        done = subprocess.run(
            [vault, "view", *password, str(self.folder / "secrets.yml")], check=True, capture_output=True, text=True
        )
        found: dict[str, str] = yaml.safe_load(done.stdout)
        return found


def wait(condition: Callable[[], bool], deadline: float, otherwise: str, interval: float = 2) -> None:
    """Wait until `condition` holds; fail the test when it does not in `deadline` seconds."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"{otherwise} after {deadline:g} s"
        time.sleep(interval)
