# SPDX-License-Identifier: Apache-2.0
"""The region as an operator has it: the `scs` command, its exit codes and output, and the environment's folder."""

from __future__ import annotations

import json
import os
import re
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

CYCLE = """
import json, subprocess, sys, time

def docker(*words):
    return subprocess.run(["docker", *words], capture_output=True, text=True)

def inspect(name):
    return json.loads(docker("inspect", name).stdout)[0]

took = {}
for name in sys.argv[2:]:
    old = inspect(name)
    health = (old["Config"].get("Healthcheck") or {}).get("Test", [])[1:]
    begin = time.monotonic()
    docker(sys.argv[1], name)
    while time.monotonic() - begin < 180:
        state = inspect(name)["State"]
        if state["Running"] and state["StartedAt"] != old["State"]["StartedAt"]:
            if not health or docker("exec", name, *health).returncode == 0:
                took[name] = round(time.monotonic() - begin, 1)
                break
        time.sleep(0.2)
print(json.dumps(took))
"""
"""Kills or restarts containers, one after the other, and asks each one's own health check when it works again."""


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
        done = subprocess.run(
            [SCS, *arguments], capture_output=True, text=True, errors="replace", env=self.environ, timeout=timeout
        )
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
        return self.scs("console", host, *command, expect=expect).out

    def cycle(self, host: str, verb: str, names: list[str]) -> dict[str, float]:
        """`docker kill` or `docker restart` each of a host's containers; seconds until each one works again."""
        took: dict[str, float] = json.loads(self.on(host, "python3", "-c", CYCLE, verb, *names))
        missing = set(names) - took.keys()
        assert not missing, f"docker {verb}: {', '.join(sorted(missing))} did not come back on {host}"
        return took

    def snapshot(self) -> dict[tuple[str, str], str]:
        """(host, container or file): what changes when somebody touches it."""
        found: dict[tuple[str, str], str] = {}
        script = (
            "docker ps --all --quiet | xargs docker inspect --format '{{.Name}} {{.Id}} {{.State.StartedAt}}';"
            "find /etc/scs -type f -printf '%p %i %T@\\n'"
        )
        for host in sorted({host for host, _ in self.containers()}):
            for line in self.on(host, "sh", "-c", script).splitlines():
                name, _, state = line.partition(" ")
                found[host, name.removeprefix("/etc/scs/") if name.startswith("/etc") else name[1:]] = state
        return found

    def openstack(self, *arguments: str) -> Any:
        """Run an `openstack` command that prints JSON."""
        return self.scs("openstack", *arguments, "-f", "json", timeout=120).json()

    def vault(self, *arguments: str) -> str:
        """Run `ansible-vault`."""
        command = [str(Path(sys.executable).with_name("ansible-vault")), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

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
        """Wait until a container runs and its own health check, where it has one, passes."""
        test = (self.inspect(host, container)["Config"].get("Healthcheck") or {}).get("Test", ["", "true"])[1:]

        def healthy() -> bool:
            return self.scs("console", host, "docker", "exec", container, *test, expect=None).code == 0

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
        """Every secret of the region by name: secrets.yml, the vault password, and a line of each private key."""
        if not (file := self.settings.get("vault_password_file")):
            raise AssertionError("these tests read secrets with a vault password file only")
        password = self.folder / file

        def view(name: str) -> str:
            return self.vault("view", "--vault-password-file", str(password), str(self.folder / name))

        found: dict[str, str] = yaml.safe_load(view("secrets.yml"))
        for number, key in enumerate(re.findall(r"PRIVATE KEY-----\s+(\S{40,})", view("certificates.yml"))):
            # all keys of a kind begin alike
            found[f"private key {number}"] = key[-30:]
        return found | {"vault password": password.read_text().strip()}


def wait(condition: Callable[[], bool], deadline: float, otherwise: str, interval: float = 2) -> None:
    """Wait until `condition` holds; fail the test when it does not in `deadline` seconds."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"{otherwise} after {deadline:g} s"
        time.sleep(interval)
