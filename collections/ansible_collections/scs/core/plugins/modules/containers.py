#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Creates, replaces, restarts, reloads and removes containers, and waits until they are healthy."""

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
"""Exit codes of a command that cannot be run: it, or one that it runs itself, is missing or not executable."""

LEAVING = "_leaving"
"""Name suffix of a replaced container that finishes its work next to its successor."""

ASKING = "_gate"
"""Name suffix of a temporary container that runs a gate."""

PREVIOUS = ".log.1"
"""Name suffix of the log of the replaced container."""

WAITING = 75
"""Exit code of a gate that waits for work that goes on by itself; its output begins with what is left of it."""

GATE = 30
"""Seconds for one answer of a gate, which asks all other members."""

BALANCER = 60
"""Seconds until HAProxy must use a healthy container. Its checks take a few seconds."""


def what_is_left(said: str) -> tuple[list[int], str]:
    """Numbers and text of the output of a gate that waits, `3 120: ...`; the first that differs tells what is less."""
    numbers, _, text = said.partition(":")
    words = numbers.split()
    return ([int(w) for w in words], text) if words and all(w.isdigit() for w in words) else ([], said)


def much_more(left: list[int], least: list[int]) -> bool:
    """Whether what is left is more than what a busy cluster's numbers vary by."""
    return next((now > 2 * then + 10 for now, then in zip(left, least, strict=False) if now != then), False)


class Roller:
    """Carries out actions on this node's engine."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.done: list[str] = []
        self.changed = False
        self.starting: dict[str, int] = {}
        """containers that do not serve requests yet: their main processes"""

    def create(self, spec: Action) -> None:
        """Create and start a container, replacing any container of that name."""
        name = spec.container
        for path, (uid, gid) in spec.directories.items():
            ensure_directory(path, uid, gid)
        ensure_volume_all(self.engine, spec.volumes)
        if spec.roll.handover:
            self.settle(spec)
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
        """Remove a replaced container, and keep its log until its successor is replaced."""
        state = self.engine.inspect(old)
        log = state and state.get("LogPath")
        if log and os.path.exists(log):
            keep(log, os.path.join(LOGS, f"{name}{PREVIOUS}"))
        self.engine.remove(old)

    @contextmanager
    def successor(self, spec: Action) -> Iterator[None]:
        """Create a container under the old one's name without starting it. After an error, the old one gets it back."""
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
        """Start a container that takes over the listening sockets of the old one, which finishes its requests.

        The old one is unaffected until the new one answers. A new one that does not start is removed again.
        Source: HAProxy management guide, section 4 (seamless reload), options -x and `expose-fd listeners`.

        :raises EngineError: the new one does not work
        """
        name = spec.container
        haproxy.remember_for_reload()
        self.engine.restart_policy(name, "no")
        try:
            with self.successor(spec):
                # their start times, in whole seconds, must differ
                first = haproxy.started()
                while time.time() < first + 1:
                    time.sleep(0.1)
                self.start(spec)
                self.wait_taken(spec, first)
        except EngineError:
            self.engine.restart_policy(name, "unless-stopped")
            raise
        self.let_go(spec)

    def let_go(self, spec: Action) -> None:
        """Have the replaced container finish its requests, then remove it."""
        name, old = spec.container, spec.container + LEAVING
        # long-lived client sessions: the old one's, and possibly some that the new one has just opened
        mine = set(sessions.established(spec.servers)) if spec.servers else set()
        # soft stop: it finishes its requests and exits
        self.engine.signal(old, "SIGUSR1")
        deadline = time.monotonic() + spec.roll.timeout
        while (state := self.engine.inspect(old)) and state["State"]["Running"] and time.monotonic() < deadline:
            if mine:
                sessions.end_idle(mine)
            time.sleep(0.5)
        self.retire(old, name)

    def settle(self, spec: Action) -> None:
        """End what an interrupted run left of a handover: the old container returns unless the new one works."""
        name, old = spec.container, spec.container + LEAVING
        if not self.exists(old):
            return
        if not self.engine.pid(old):
            self.retire(old, name)
        elif self.engine.pid(name):
            self.let_go(spec)
        else:
            self.engine.remove(name)
            self.engine.rename(old, name)
            self.engine.restart_policy(name, "unless-stopped")

    def exists(self, name: str) -> bool:
        """Whether there is a container of that name, running or not."""
        return self.engine.inspect(name) is not None

    def go_on(self, spec: Action) -> None:
        """Start a container that continues with the old one's state on the host, with the shortest possible gap.

        :raises EngineError: the new one does not start; the old one is running again
        """
        try:
            with self.successor(spec):
                self.start(spec)
        except EngineError:
            self.engine.start(spec.container)
            raise

    def kill(self, name: str, stay: str) -> None:
        """Kill a container, which therefore cleans up nothing. The file `stay` tells its successor."""
        mark(*os.path.split(stay), on=True)
        self.engine.signal(name, "SIGKILL")
        deadline = time.monotonic() + 10
        while (state := self.engine.inspect(name)) and state["State"]["Running"] and time.monotonic() < deadline:
            time.sleep(0.02)

    def wait_taken(self, spec: Action, first: float) -> None:
        """Wait until the new process answers on the admin socket."""
        name, deadline = spec.container, time.monotonic() + spec.health.timeout
        while haproxy.started() <= first:
            state = self.engine.inspect(name)
            if state is None or not state["State"]["Running"] or state["RestartCount"] or time.monotonic() > deadline:
                raise EngineError(f"{name} does not take over; its log ends with: {self.tail(name)}")
            time.sleep(0.1)

    def start(self, spec: Action) -> None:
        """Start a container and clear its stopped marker. A container with `stay` first kills its predecessor."""
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
        """Give a starting container less CPU time than containers that serve requests."""
        self.starting[name] = self.engine.pid(name)
        share.give(self.starting[name], share.LITTLE)

    def serves(self, name: str) -> None:
        """Give a healthy container the usual share of CPU time."""
        share.give(self.starting.pop(name, 0), 1)

    def restart(self, spec: Action) -> None:
        """Stop a container with its own timeout and start it. It gets new mounts and therefore sees replaced files."""
        if spec.roll.stay:
            self.kill(spec.container, spec.roll.stay)
        else:
            self.engine.stop(spec.container)
        self.start(spec)

    def reload(self, spec: Action) -> None:
        """Load a new configuration without a restart."""
        name = spec.container
        if spec.roll.handover:
            haproxy.remember_for_reload()
        if spec.reload.command:
            code, output = self.engine.execute(name, spec.reload.command)
            if code:
                raise EngineError(f"{name}: reload failed with {code}: {output.strip()[-300:]}")
        else:
            self.engine.signal(name, spec.reload.signal)
        mark(RELOADS, name, True)

    def stop(self, spec: Action) -> None:
        """Stop a container and set its stopped marker, so that nothing starts it again."""
        mark(STOPPED, spec.container, True)
        self.engine.stop(spec.container)

    def remove(self, spec: Action) -> None:
        """Stop a container gracefully and remove it. Volumes are kept."""
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
        """Wait until the cluster can lose this member. One whose process does not run is skipped.

        :raises EngineError: not in time, or what the gate waits for made no progress for that time; with its output
        """
        name, deadline = spec.container, time.monotonic() + spec.roll.timeout
        least: list[int] = []
        while spec.roll.gate and (state := self.engine.inspect(name)):
            if not state["State"]["Running"] or state["State"].get("Restarting"):
                return
            try:
                code, said = self.ask(spec)
            except EngineError as error:
                # not a yes, and it may be ending: the next look tells
                code, said = -1, str(error)
            if code == 0:
                return
            left, said = what_is_left(said) if code == WAITING else ([], said)
            if left and (not least or left < least):
                least, deadline = left, time.monotonic() + spec.roll.timeout
            elif left and much_more(left, least):
                # something else happened, and its repair counts as progress, too
                least = left
            if time.monotonic() > deadline:
                why = " ".join(said.split())[-400:] or f"its gate printed nothing and ended with {code}"
                raise EngineError(f"{name} is not stopped: {why}")
            time.sleep(2)

    def ask(self, spec: Action) -> tuple[int, str]:
        """The exit code and output of a gate: in the member or, if that is older than its gate, beside it."""
        name, gate = spec.container, spec.roll.gate
        code, said = self.engine.execute(name, gate, timeout=GATE)
        absent = code in NO_COMMAND and os.path.isabs(gate[0]) and self.engine.execute(name, ["test", "-e", gate[0]])[0]
        return self.ask_beside(spec) if absent == 1 else (code, said)

    def ask_beside(self, spec: Action) -> tuple[int, str]:
        """Run a gate in a temporary container with the files and mounts that the member is to get."""
        name = spec.container + ASKING
        host = {**spec.body.get("HostConfig", {}), "RestartPolicy": {"Name": "no"}}
        body = {**spec.body, "Cmd": spec.roll.gate, "Healthcheck": {"Test": ["NONE"]}, "Labels": {}, "HostConfig": host}
        self.engine.remove(name)
        self.engine.create(name, body)
        try:
            self.engine.start(name)
            return self.engine.wait(name, GATE), self.engine.logs(name)
        finally:
            self.engine.remove(name)

    def leave(self, spec: Action) -> None:
        """Run a member's leave command once it gets no more requests, before it stops. A failure is ignored."""
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
        """Wait until the health command exits 0.

        :raises EngineError: the container crashes, or is not healthy in time; with the end of its log
        """
        name, deadline = spec.container, time.monotonic() + spec.health.timeout
        restarts = None
        last = ""
        pause = 0.25
        while True:
            state = self.engine.inspect(name)
            if state is None:
                raise EngineError(f"{name} no longer exists")
            count = state["RestartCount"]
            restarts = count if restarts is None else restarts
            if count - restarts >= 5:
                raise EngineError(
                    f"{name} keeps crashing (exit code {state['State']['ExitCode']}); "
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
        """Wait until this node's HAProxy, if any, sends requests to the container.

        :raises EngineError: not in time
        """
        if not spec.members or not os.path.exists(haproxy.SOCKET):
            return
        down = haproxy.wait_up(spec.members, time.monotonic() + BALANCER)
        # HAProxy uses a member that is still copying data only afterwards
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
    """Link a file under a second name, so that it outlives the first one."""
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
    """Create or remove a marker file. Its timestamp matters."""
    path = os.path.join(folder, name)
    if on:
        os.makedirs(folder, exist_ok=True)
        with open(path, "w"):
            os.utime(path)
    elif os.path.exists(path):
        os.unlink(path)


def run(roller: Roller, actions: list[Action]) -> None:
    """Run all actions in order. Consecutive creations and starts are waited for together.

    One may depend on the next: a load balancer uses a database only once another container reports it healthy.
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
        anew = action == "replace" or (
            action == "start" and spec.roll.handover and roller.exists(spec.container + LEAVING)
        )
        getattr(roller, "create" if anew else action)(spec)
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
        # a module of an interrupted run may still be running on this node
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
