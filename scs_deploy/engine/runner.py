# SPDX-License-Identifier: Apache-2.0
"""Runs playbooks through ansible-runner: the only module that imports it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scs_deploy.base import paths, ssh
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import AHEAD, Environment
from scs_deploy.region.sources import ChangedError

Event = Mapping[str, Any]
"""An ansible-runner event: `event` is its kind, `event_data` has host, task, play and res."""


CHANGED = 78
"""Exit code of Ansible's process if its inputs differ from the plan's. The callback scs.core.preload ends it."""


@dataclass
class RunResult:
    """The result of a playbook."""

    status: str
    """successful, failed, canceled or timeout"""
    failures: dict[str, str] = field(default_factory=dict)
    """host: message of the failed task"""
    refused: dict[str, str] = field(default_factory=dict)
    """the `failures` caused by invalid input or an unsuitable host"""
    unreachable: dict[str, str] = field(default_factory=dict)
    """host: ssh's message"""
    acted: set[str] = field(default_factory=set)
    """hosts that ran or refused a task"""
    idle: tuple[str, ...] = ()
    """named hosts on which no task of a successful run ran; `all hosts` if none was named"""
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """host: result of its last task"""
    changed: bool = False
    """it ended before its first task, because an input differs from the plan's"""
    output: str = ""
    """Ansible's output, for failures before the first task"""

    @property
    def ok(self) -> bool:
        """Whether every task succeeded on every host."""
        return self.status == "successful" and not self.failures and not self.unreachable and not self.idle

    def add(self, other: RunResult) -> None:
        """Take in the result of other hosts."""
        for name in ("failures", "refused", "unreachable", "results"):
            getattr(self, name).update(getattr(other, name))
        self.acted |= other.acted
        self.idle += other.idle
        self.changed |= other.changed
        self.output = self.output or other.output
        if other.status != "successful":
            self.status = other.status

    def fail(self, host: str, why: str, refused: bool) -> None:
        """Note that a host failed, or that it is unsuitable."""
        self.status = "failed"
        self.failures[host] = why
        if refused:
            self.refused[host] = why

    def raise_for(
        self, verb: str = "", *, changing: bool = False, hint: str = "", but_unreachable: bool = False
    ) -> None:
        """Raise unless every task succeeded on every host.

        :param verb: begins the message of a failure, e.g. `observing`
        :param changing: the play changes hosts, so some changes may have been made
        :param hint: what to do about the failure
        :param but_unreachable: the caller handles unreachable hosts
        :raises ChangedError: an input has changed, so no task ran
        :raises RefusedError: nothing was changed, because a host is unreachable or refused
        :raises ScsError: a task or Ansible itself failed
        """
        if self.changed:
            raise ChangedError("the region has changed since this plan was made", "repeat the command")
        if self.unreachable and not but_unreachable:
            if changing:
                raise ScsError(summary(self.unreachable, verb="became unreachable"), hint)
            said = summary(self.unreachable, verb="is unreachable")
            raise RefusedError(said, "check its address, its power and `scs console HOST`")
        if self.refused and not changing:
            raise RefusedError(summary(self.refused), hint)
        failed = f"{verb} failed: " if verb else ""
        if self.failures:
            raise ScsError(failed + summary(self.failures), hint)
        if self.idle and not self.unreachable:
            ran = f"{failed}no task ran on {', '.join(self.idle)}: Ansible did not find them in the inventory"
            raise ScsError(ran, "scs inventory check")
        if self.status != "successful" and not self.unreachable:
            raise ScsError(f"{failed}Ansible ended with {self.status}: {' '.join(self.output.split())[-600:]}", hint)


def run_playbook(
    environment: Environment,
    playbook: Path | Sequence[Mapping[str, Any]],
    limit: Sequence[str] = (),
    on_event: Callable[[Event], None] | None = None,
    private: Path | None = None,
    keep_results: bool = False,
    variables: Mapping[str, str] | None = None,
) -> RunResult:
    """Run a playbook (a file, or plays as data) with the environment's inventory.

    :param limit: host names; empty for all
    :param private: folder for Ansible's artifacts, which is kept; default: a temporary folder
    :param keep_results: collect each host's last task result in `results`
    :param variables: additional environment variables of the process; must not contain secrets
    :param on_event: called with every event; if it raises ScsError, the run ends and the error is raised here
    :raises KeyboardInterrupt: after the run was cancelled by Ctrl-C
    """
    import ansible_runner

    folder = private or Path(tempfile.mkdtemp(prefix="scs-", dir=os.environ.get("XDG_RUNTIME_DIR")))
    result = RunResult("failed")
    cancelled = threading.Event()
    stopped: list[ScsError] = []

    def handle(event: dict[str, Any]) -> bool:
        _collect(event, result, keep_results)
        if on_event:
            try:
                on_event(event)
            except ScsError as error:
                stopped.append(error)
                cancelled.set()
        # True keeps the event's file, which only runs with their own folder need
        return private is not None

    try:
        with _cancel_on_interrupt(cancelled):
            run = ansible_runner.run(
                private_data_dir=str(folder),
                playbook=str(playbook) if isinstance(playbook, Path) else [dict(p) for p in playbook],
                inventory=str(environment.inventory),
                limit=",".join(limit) or None,
                envvars={**settings(environment), **(variables or {})},
                event_handler=handle,
                cancel_callback=cancelled.is_set,
                quiet=True,
                suppress_env_files=True,
            )
        _end(result, run.status, run.rc, limit or _named(playbook))
        if not result.ok and not result.failures and not result.unreachable:
            result.output = run.stdout.read()[-2000:]
    finally:
        if private is None:
            shutil.rmtree(folder, ignore_errors=True)
    if stopped:
        raise stopped[0]
    if cancelled.is_set():
        raise KeyboardInterrupt
    return result


def _named(playbook: Path | Sequence[Mapping[str, Any]]) -> list[str]:
    """Hosts that plays name individually. A playbook from a file names groups, which may be empty."""
    if isinstance(playbook, Path):
        return []
    return [host for play in playbook for host in str(play["hosts"]).split(",")]


def _end(result: RunResult, status: str, code: int | None, named: Sequence[str]) -> None:
    """Set the status. Ansible only warns about unknown hosts and succeeds without them: see RunResult.idle."""
    result.status, result.changed = status, code == CHANGED
    if result.ok:
        result.idle = tuple(sorted(set(named) - result.acted)) if named or result.acted else ("all hosts",)


def settings(environment: Environment) -> dict[str, str]:
    """Environment variables that make plain `ansible` work on the region as scs does.

    :raises RefusedError: this user may not read the SSH key
    """
    sharing.check_may_connect(environment)
    return {
        "ANSIBLE_CALLBACKS_ENABLED": "scs.core.preload,scs.core.gate",
        "ANSIBLE_COLLECTIONS_PATH": str(paths.collections()),
        "ANSIBLE_CONFIG": str(paths.root() / "ansible.cfg"),
        "ANSIBLE_FORKS": "50",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_PRIVATE_KEY_FILE": str(environment.ssh_key),
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_REMOTE_USER": environment.settings.ssh.user,
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_SSH_ARGS": shlex.join(ssh.arguments(ssh.persistent(environment.known_hosts))),
        "ANSIBLE_BECOME": "False" if environment.settings.ssh.user == "root" else "True",
        # use the Ansible next to this Python, even if its virtual environment is not activated
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "SCS_ENVIRONMENT": environment.name,
        **({AHEAD: environment.settings.release} if environment.ahead else {}),
        "SCS_ENVIRONMENTS": str(paths.environments()),
        "SCS_ROOT": str(paths.root()),
    }


def summary(said: Mapping[str, str], most: int = 3, verb: str = "") -> str:
    """Messages of hosts on one line: `host a: ...; host b: ...; and 7 more hosts`.

    :param verb: inserted before the colon, e.g. `is unreachable`
    """
    shown = [f"host {host}{verb and ' ' + verb}: {text}" for host, text in sorted(said.items())]
    rest = [f"and {len(shown) - most} more hosts"] if len(shown) > most else []
    return "; ".join(shown[:most] + rest)


def _collect(event: Event, result: RunResult, keep: bool) -> None:
    kind, data = event.get("event"), event.get("event_data") or {}
    host, res = str(data.get("host", "")), data.get("res") or {}
    if str(kind).startswith("runner_on_"):
        result.acted.add(host)
    if kind == "runner_on_unreachable":
        # keep only ssh's message: Ansible's prefix repeats the host
        said = " ".join(str(res.get("msg", "")).split())
        result.unreachable[host] = re.sub(r"^.*(reached over ssh|connect to the host via ssh): ", "", said)
    elif kind == "runner_on_failed" and not data.get("ignore_errors"):
        result.failures[host] = message_of(res)
        if res.get("refused"):
            result.refused[host] = result.failures[host]
    elif kind == "runner_on_ok" and keep:
        result.results[host] = res


def message_of(res: Mapping[str, Any]) -> str:
    """The reason of a failed task, on one line."""
    text = str(res.get("msg") or res.get("stderr") or res.get("stdout") or "no message")
    if res.get("exception") and "Traceback" in text:
        text = text.strip().splitlines()[-1]
    return " ".join(text.split())


@contextmanager
def _cancel_on_interrupt(cancelled: threading.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def cancel(_signal: int, _frame: object) -> None:
        cancelled.set()

    before = {s: signal.signal(s, cancel) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
