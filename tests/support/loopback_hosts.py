# SPDX-License-Identifier: Apache-2.0
"""Hosts on loopback addresses that carry out plays as Ansible and the node modules do: containers are processes.

The manager plans, renders, records and executes as it always does; only the runner of playbooks is another one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scs_deploy.desired import resolve
from scs_deploy.desired.model import NODE_CONFIG
from scs_deploy.engine.playbook import Module
from scs_deploy.engine.runner import RunResult
from scs_deploy.observed.model import Observed, ObservedContainer
from scs_deploy.plan.host import container_states, plan_host
from scs_deploy.region.region import Region

Result = dict[str, Any]


@dataclass
class Container:
    """A container of a host."""

    body: Mapping[str, Any]
    image: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class Node:
    """What a host has. All of it is gone with its disk."""

    engine: bool = True
    containers: dict[str, Container] = field(default_factory=dict)
    files: dict[str, tuple[str, str, int, int, float]] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    drained: bool = False


class Loopback:
    """The hosts of a region.

    :param programs: first word of a container's command: the file that is run instead
    """

    def __init__(self, folder: Path, region: Region, programs: Mapping[str, Path]) -> None:
        self.folder, self.region, self.programs = folder, region, programs
        self.nodes = {h: Node() for h in region.inventory.hosts}
        self.unreachable: set[str] = set()
        self.bootstrapped: list[str] = []

    # what a test does to hosts

    def wipe(self, host: str) -> None:
        """A new disk."""
        self.stop_all(host)
        shutil.rmtree(self.folder / host, ignore_errors=True)
        self.nodes[host] = Node(engine=False)

    def die(self, host: str) -> None:
        """It loses its power for good."""
        self.stop_all(host)
        self.unreachable.add(host)

    def stop_all(self, *hosts: str) -> None:
        for host in hosts or tuple(self.nodes):
            for name in self.nodes[host].containers:
                self._stop(host, name)

    def probe(self, _region: Region, host: str) -> str:
        """As the ssh of `scs node add` and `replace`."""
        if host in self.unreachable:
            return "No route to host"
        return "used" if self.nodes[host].containers else "empty"

    # the runner

    def run_playbook(
        self, _environment: object, playbook: Path | Sequence[Mapping[str, Any]], limit: Sequence[str] = (),
        on_event: Callable[[Result], None] | None = None, private: Path | None = None, keep_results: bool = False,
        variables: object = None,
    ) -> RunResult:  # fmt: skip
        """As engine.runner.run_playbook."""
        del private, keep_results, variables
        result = RunResult("successful")
        if isinstance(playbook, Path):
            for host in limit or tuple(self.nodes):
                self.nodes[host].engine = True
                self.bootstrapped.append(host)
            return result
        tell = on_event or (lambda _event: None)
        for number, play in enumerate(playbook):
            self._play(number, play, result, tell)
            if result.failures or result.unreachable:
                result.status = "failed"
                break
        return result

    def _play(self, number: int, play: Mapping[str, Any], result: RunResult, tell: Callable[[Result], None]) -> None:
        tell({"event": "playbook_on_play_start", "event_data": {"play_uuid": f"{number:08}"}})
        for task in play["tasks"]:
            tell({"event": "playbook_on_task_start", "event_data": {}})
            module = next(k for k in task if "." in k)
            for host in str(play["hosts"]).split(","):
                if host in result.unreachable:
                    continue
                tell({"event": "runner_on_start", "event_data": {"host": host}})
                if host in self.unreachable:
                    result.unreachable[host] = "No route to host"
                    tell({"event": "runner_on_unreachable", "event_data": {"host": host}})
                    continue
                try:
                    said = self._task(host, module, task[module])
                except RuntimeError as error:
                    result.failures[host] = str(error)
                    tell({"event": "runner_on_failed", "event_data": {"host": host, "res": {"msg": str(error)}}})
                    continue
                result.results[host] = said
                tell({"event": "runner_on_ok", "event_data": {"host": host, "res": said}})

    def _task(self, host: str, module: str, arguments: Mapping[str, Any]) -> Result:
        node = self.nodes[host]
        if module == "ansible.builtin.raw":
            return {}
        if not node.engine and module != "ansible.builtin.file":
            raise RuntimeError("no container engine")
        if module == "scs.core.execute":
            return {"answers": [self._execute(host, c) for c in arguments["commands"].get(host, ())]}
        if module == "scs.core.observe":
            return self._observe(host)
        if module == Module.CONTAINERS:
            for action in arguments["actions"]:
                self._act(host, action["action"], action["container"], action.get("wait", True))
        elif module == Module.FILES:
            for file in resolve.resolve(self.region, host).files.values():
                if file.path.removeprefix(f"{NODE_CONFIG}/") in arguments["write"]:
                    node.files[file.path] = (file.sha256, file.mode, file.uid, file.gid, 0.0)
        elif module == Module.IMAGES:
            node.images |= {c.image for c in resolve.resolve(self.region, host).containers.values()}
        elif module == "ansible.builtin.file":
            node.drained = arguments["state"] == "touch"
        elif module == "ansible.builtin.command":
            # the only one is that of --purge
            for volume in arguments["argv"][4:]:
                shutil.rmtree(self.folder / host / volume, ignore_errors=True)
            node.files.clear()
        else:
            raise AssertionError(f"no host of this kind knows {module}")
        return {}

    # containers

    def _program(self, host: str, words: Sequence[str]) -> list[str]:
        """A command with its program, and with paths of volumes on this host."""
        paths = {
            path: str(self.folder / host / name)
            for c in resolve.resolve(self.region, host).containers.values()
            for name, path in (b.split(":")[:2] for b in c.body["HostConfig"]["Binds"])
            if not name.startswith("/")
        }
        first, *rest = words
        return [sys.executable, "-I", "-S", str(self.programs[first]), *(paths.get(w, w) for w in rest)]

    def _execute(self, host: str, command: Mapping[str, Any]) -> Result:
        container = self.nodes[host].containers.get(command["container"])
        if not command["one_shot"]:
            if container is None:
                return {"code": -1, "output": f"No such container: {command['container']}", "container": "absent"}
            if not container.runs:
                return {"code": -1, "output": "is not running", "container": "stopped"}
        done = subprocess.run(
            self._program(host, command["argv"]),
            capture_output=True,
            text=True,
            timeout=command["timeout"],
            check=False,
        )
        state = None if command["one_shot"] else "running"
        return {"code": done.returncode, "output": done.stdout + done.stderr, "container": state}

    def _act(self, host: str, action: str, name: str, wait: bool) -> None:
        node = self.nodes[host]
        if action in ("stop", "restart", "replace", "remove"):
            self._stop(host, name)
        if action == "remove":
            node.containers.pop(name, None)
        if action in ("create", "replace"):
            run = resolve.resolve(self.region, host).containers[name]
            node.containers[name] = Container(run.body, run.image)
        if action in ("create", "replace", "start", "restart"):
            self._start(host, name)
            run = resolve.resolve(self.region, host).containers[name]
            deadline = time.monotonic() + 20
            while wait and run.health and run.health.command and subprocess.run(
                self._program(host, run.health.command), capture_output=True, check=False
            ).returncode:  # fmt: skip
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{name} does not become healthy")
                time.sleep(0.05)

    def _start(self, host: str, name: str) -> None:
        container = self.nodes[host].containers[name]
        if container.runs:
            return
        (self.folder / host).mkdir(parents=True, exist_ok=True)
        with (self.folder / host / f"{name}.log").open("ab") as log:
            container.process = subprocess.Popen(
                self._program(host, container.body["Cmd"]), stdout=log, stderr=log, env={**os.environ}
            )

    def _stop(self, host: str, name: str) -> None:
        container = self.nodes[host].containers.get(name)
        if container and container.process:
            container.process.kill()
            container.process.wait()
            container.process = None

    # what is seen

    def _observe(self, host: str) -> Result:
        desired = resolve.resolve(self.region, host)
        node = self.nodes[host]
        seen = {
            name: ObservedContainer.model_validate(
                {
                    **c.body,
                    "managed": True,
                    "image_id": c.image,
                    "image": c.image,
                    "status": "running" if c.runs else "exited",
                    "health": "healthy" if c.runs else None,
                    "started": datetime.now(UTC).isoformat(),
                }
            )
            for name, c in node.containers.items()
        }
        observed = Observed(
            files=node.files, containers=seen, images={i: i for i in node.images}, drained=node.drained, free=10**12
        )
        plan = plan_host(desired, observed, (), self.region.lock)
        return {
            "plan": json.loads(plan.model_dump_json()),
            "states": json.loads(json.dumps(container_states(desired, observed), default=str)),
        }
