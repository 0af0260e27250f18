#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Creates, replaces, restarts, reloads and removes containers, and waits until each works."""

DOCUMENTATION = r"""
module: containers
short_description: Bring containers to their desired state
description:
  - Takes an ordered list of actions. New containers are started together and waited for together;
    every other action finishes, including the health check, before the next one starts.
options:
  actions:
    description:
      - Each with C(container) and C(action), one of gate, create, replace, restart, reload, start, stop, remove.
      - C(gate) runs a check in a cluster member, and repeats it until the others can do without that member.
      - C(wait) (default true) waits until the container works; C(leave) (default false) runs its leave command first.
      - The action plugin adds the container's definition.
    type: list
    elements: dict
    required: true
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Roll
  scs.core.containers:
    actions:
      - {action: replace, container: keystone}
"""
RETURN = r"""
done:
  description: Actions that were carried out.
  type: list
  returned: always
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.core.plugins.module_utils import haproxy, sessions, share
from ansible_collections.scs.core.plugins.module_utils.definition import Action
from ansible_collections.scs.core.plugins.module_utils.engine import (
    Engine,
    EngineError,
    ensure_directory,
    ensure_volume_all,
)

LOGS, RELOADS, STOPPED, LOCK = "/var/log/scs", "/var/lib/scs/reloads", "/var/lib/scs/stopped", "/run/scs-engine.lock"

NO_COMMAND = (126, 127)
"""Exit codes of a command that a container does not have: it is older than its gate."""

LEAVING = "_leaving"
"""Ends the name of a container that finishes its work beside the one that took its place."""

PREVIOUS = ".log.1"
"""Ends the name of the log of the container that was replaced."""

BALANCER = 60
"""Seconds until HAProxy must have taken up a healthy container; its checks take a few."""


class Roller:
    """Carries out actions on this node's engine."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.done: list[str] = []
        self.changed = False
        self.starting: dict[str, int] = {}
        """container: its main process, of those that do not serve anybody yet"""

    def create(self, spec: Action) -> None:
        """A new container; whatever had its name goes."""
        name = spec.container
        for path, (uid, gid) in spec.directories.items():
            ensure_directory(path, uid, gid)
        ensure_volume_all(self.engine, spec.volumes)
        old = self.engine.inspect(name)
        if old and old["State"]["Running"] and spec.roll.handover and haproxy.started():
            self.hand_over(spec)
            return
        if old and old["State"]["Running"] and spec.roll.stay:
            self.go_on(spec)
            return
        if old:
            if old["State"]["Running"]:
                self.engine.stop(name)
            self.retire(name, name)
        self.engine.create(name, spec.body)
        self.start(spec)
        self.link_log(name)

    def retire(self, old: str, name: str) -> None:
        """Remove a container that another one takes the place of; what it wrote last stays until that one goes, too."""
        state = self.engine.inspect(old)
        log = state and state.get("LogPath")
        if log and os.path.exists(log):
            keep(log, os.path.join(LOGS, f"{name}{PREVIOUS}"))
        self.engine.remove(old)

    @contextmanager
    def beside(self, spec: Action) -> Iterator[None]:
        """A new container, not started, that has the old one's name; the old one has it again when that goes wrong."""
        name, old = spec.container, spec.container + LEAVING
        self.engine.remove(old)
        self.engine.rename(name, old)
        try:
            self.engine.create(name, spec.body)
            yield
        except EngineError:
            self.engine.remove(name)
            self.engine.rename(old, name)
            raise
        self.link_log(name)

    def hand_over(self, spec: Action) -> None:
        """A new container beside the old one, whose listening sockets it takes; the old one finishes its requests.

        Until the new one answers nothing has happened to the old one: one that does not start is removed again.
        Source: HAProxy management guide, section 4 (seamless reload), options -x and `expose-fd listeners`.

        :raises EngineError: the new one does not work
        """
        name, old = spec.container, spec.container + LEAVING
        haproxy.remember()
        self.engine.restart_policy(name, "no")
        try:
            with self.beside(spec):
                # the two are told apart by whole seconds
                first = haproxy.started()
                while time.time() < first + 1:
                    time.sleep(0.1)
                self.start(spec)
                self.wait_taken(spec, first)
        except EngineError:
            self.engine.restart_policy(name, "unless-stopped")
            raise
        # Sessions of clients that keep them for long: these, and perhaps some that the new one has just begun.
        mine = set(sessions.established(spec.servers)) if spec.servers else set()
        # soft stop: finishes what it works on and ends
        self.engine.signal(old, "SIGUSR1")
        deadline = time.monotonic() + spec.roll.timeout
        while (state := self.engine.inspect(old)) and state["State"]["Running"] and time.monotonic() < deadline:
            if mine:
                sessions.end_idle(mine)
            time.sleep(0.5)
        self.retire(old, name)

    def go_on(self, spec: Action) -> None:
        """A new container that goes on with what the old one leaves on the host, as short after it as can be.

        :raises EngineError: the new one does not start; the old one runs again
        """
        try:
            with self.beside(spec):
                self.start(spec)
        except EngineError:
            self.engine.start(spec.container)
            raise

    def kill(self, name: str, stay: str) -> None:
        """End a container that takes nothing back; the file tells the next one."""
        mark(*os.path.split(stay), on=True)
        self.engine.signal(name, "SIGKILL")
        deadline = time.monotonic() + 10
        while (state := self.engine.inspect(name)) and state["State"]["Running"] and time.monotonic() < deadline:
            time.sleep(0.02)

    def wait_taken(self, spec: Action, first: float) -> None:
        """Until the process that answers at the admin socket is the new one."""
        name, deadline = spec.container, time.monotonic() + spec.health.timeout
        while haproxy.started() <= first:
            state = self.engine.inspect(name)
            if state is None or not state["State"]["Running"] or state["RestartCount"] or time.monotonic() > deadline:
                raise EngineError(f"{name} does not take over; its log ends with: {self.tail(name)}")
            time.sleep(0.1)

    def start(self, spec: Action) -> None:
        """Start, and forget that an operator stopped it; one that goes on where another was ends that one before."""
        name, old = spec.container, spec.container + LEAVING
        mark(STOPPED, name, False)
        left = self.engine.inspect(old) if spec.roll.stay else None
        if left and left["State"]["Running"]:
            self.kill(old, spec.roll.stay)
        self.engine.start(name)
        if left:
            self.retire(old, name)
        if not spec.roll.handover and not spec.roll.stay:
            self.yield_to_others(name)

    def yield_to_others(self, name: str) -> None:
        """While it starts, those that answer users come first."""
        self.starting[name] = self.engine.pid(name)
        share.give(self.starting[name], share.LITTLE)

    def serves(self, name: str) -> None:
        """It works: it has the same share of the processors as the others."""
        share.give(self.starting.pop(name, 0), 1)

    def restart(self, spec: Action) -> None:
        """Stop with the container's own timeout and start: mounts are made anew, so replaced files are seen."""
        if spec.roll.stay:
            self.kill(spec.container, spec.roll.stay)
        else:
            self.engine.stop(spec.container)
        self.start(spec)

    def reload(self, spec: Action) -> None:
        """New configuration without a restart."""
        name = spec.container
        if spec.reload.command:
            code, output = self.engine.execute(name, spec.reload.command)
            if code:
                raise EngineError(f"{name}: reload failed with {code}: {output.strip()[-300:]}")
        else:
            self.engine.signal(name, spec.reload.signal)
        mark(RELOADS, name, True)

    def stop(self, spec: Action) -> None:
        """Stop and remember that this is wanted, so that nothing starts it again."""
        mark(STOPPED, spec.container, True)
        self.engine.stop(spec.container)

    def remove(self, spec: Action) -> None:
        """Stop in good order, then remove; volumes stay."""
        name = spec.container
        if self.engine.inspect(name):
            self.engine.stop(name)
        self.engine.remove(name)
        for folder in (RELOADS, STOPPED):
            mark(folder, name, False)
        for log in (f"{name}.log", f"{name}{PREVIOUS}"):
            if os.path.lexists(os.path.join(LOGS, log)):
                os.unlink(os.path.join(LOGS, log))

    def gate(self, spec: Action) -> None:
        """Until the others can do without this member; one that does not run is missed by nobody.

        :raises EngineError: they cannot in time; with what the gate said
        """
        name, deadline = spec.container, time.monotonic() + spec.roll.timeout
        while True:
            state = self.engine.inspect(name)
            if state is None or not state["State"]["Running"] or not spec.roll.gate:
                return
            code, said = self.engine.execute(name, spec.roll.gate, timeout=30)
            if code == 0 or code in NO_COMMAND:
                return
            if time.monotonic() > deadline:
                raise EngineError(f"{name} is not stopped: {' '.join(said.split())[-400:] or 'its gate said nothing'}")
            time.sleep(2)

    def leave(self, spec: Action) -> None:
        """What a member does when nobody sends to it any more, before it stops; that it fails stops nothing."""
        state = self.engine.inspect(spec.container)
        if spec.leave and spec.roll.leave and state and state["State"]["Running"]:
            self.engine.execute(spec.container, spec.roll.leave, timeout=60)

    def link_log(self, name: str) -> None:
        """/var/log/scs/<container>.log -> the engine's log file (JSON lines, rotated by the engine)."""
        state = self.engine.inspect(name)
        target = state and state.get("LogPath")
        if target:
            os.makedirs(LOGS, exist_ok=True)
            link = os.path.join(LOGS, f"{name}.log")
            temporary = link + ".new"
            if os.path.lexists(temporary):
                os.unlink(temporary)
            os.symlink(target, temporary)
            os.replace(temporary, link)

    def wait(self, spec: Action) -> None:
        """Until the health command exits 0.

        :raises EngineError: the container ended, or is not healthy in time; with the end of its log
        """
        name, deadline = spec.container, time.monotonic() + spec.health.timeout
        restarts = None
        last = ""
        pause = 0.25
        while True:
            state = self.engine.inspect(name)
            if state is None:
                raise EngineError(f"{name} is gone")
            count = state["RestartCount"]
            restarts = count if restarts is None else restarts
            if count - restarts >= 5:
                raise EngineError(
                    f"{name} ends again and again (exit code {state['State']['ExitCode']}); "
                    f"its log ends with: {self.tail(name)}"
                )
            if state["State"]["Running"]:
                if not spec.wait or not spec.health.command:
                    self.serves(name)
                    return
                try:
                    code, last = self.engine.execute(name, spec.health.command, timeout=20)
                except EngineError as error:
                    code, last = -1, str(error)
                if code == 0:
                    self.serves(name)
                    self.wait_for_balancer(spec)
                    return
            if time.monotonic() > deadline:
                raise EngineError(
                    f"{name} is not healthy after {spec.health.timeout} s: {last.strip()[-200:] or 'no output'}; "
                    f"its log ends with: {self.tail(name)}"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 2)

    def wait_for_balancer(self, spec: Action) -> None:
        """Until this node's HAProxy, where it has one, sends requests to the container.

        :raises EngineError: HAProxy does not take it up in time
        """
        if not spec.members or not os.path.exists(haproxy.SOCKET):
            return
        down = haproxy.wait_up(spec.members, time.monotonic() + BALANCER)
        # One that still copies its data is taken up when it has it.
        down = [member for member in down if member[0] not in spec.copies]
        if down:
            names = ", ".join(map("/".join, down))
            raise EngineError(f"{spec.container} is healthy, but HAProxy does not send to {names}")

    def tail(self, name: str) -> str:
        """The end of a container's log, on one line."""
        try:
            return " | ".join(line.strip() for line in self.engine.logs(name, 8).splitlines())[-900:]
        except EngineError as error:
            return str(error)


def keep(log: str, path: str) -> None:
    """A file under another name as well, where whoever owns the first one does not remove it."""
    temporary = path + ".new"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(temporary):
        os.unlink(temporary)
    try:
        os.link(log, temporary)
    except OSError:  # another filesystem
        shutil.copyfile(log, temporary)
    os.replace(temporary, path)


def mark(folder: str, name: str, on: bool) -> None:
    """Set or clear a marker file whose time stamp counts."""
    path = os.path.join(folder, name)
    if on:
        os.makedirs(folder, exist_ok=True)
        with open(path, "w"):
            os.utime(path)
    elif os.path.exists(path):
        os.unlink(path)


def run(roller: Roller, actions: list[Action]) -> None:
    """All actions in order; creations, and starts, next to each other are waited for together.

    One may need the next: a load balancer takes up a database that another container tells of.
    """
    pending: list[Action] = []
    for spec in actions:
        action = spec.action
        if action not in ("create", "start"):
            for waiting in pending:
                roller.wait(waiting)
            pending = []
        if action in ("replace", "restart", "stop"):
            roller.leave(spec)
        getattr(roller, "create" if action == "replace" else action)(spec)
        roller.done.append(f"{action} {spec.container}")
        roller.changed = roller.changed or action != "gate"
        if action in ("create", "start"):
            pending.append(spec)
        elif action not in ("gate", "stop", "remove"):
            roller.wait(spec)
    for waiting in pending:
        roller.wait(waiting)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        {"actions": {"type": "list", "elements": "dict", "required": True}}, supports_check_mode=True
    )
    actions = [Action.read(given) for given in module.params["actions"]]
    if module.check_mode:
        module.exit_json(changed=bool(actions), done=[f"{a.action} {a.container}" for a in actions])
    roller = Roller()
    with open(LOCK, "w") as lock:
        # a module of an interrupted run may still be at work on this node
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            run(roller, actions)
        except EngineError as error:
            module.fail_json(msg=str(error), done=roller.done)
        finally:
            for name in list(roller.starting):
                roller.serves(name)
    module.exit_json(changed=roller.changed, done=roller.done)


if __name__ == "__main__":
    main()
