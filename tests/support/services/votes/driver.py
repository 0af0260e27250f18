# SPDX-License-Identifier: Apache-2.0
"""The driver of a cluster that is not shipped: what `scs node` and `scs recover` need to know of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.clusters.base import (
    Answers,
    ClusterDriver,
    ClusterState,
    Procedure,
    Recovery,
    RecoveryOptions,
    RecoveryStep,
    Seen,
    known,
    names,
    running,
)  # fmt: skip
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Command, ContainerState

NAME, DATA = "votes", "/var/lib/votes"
SECONDS = 20.0


class Settings(Model):
    """Where members listen."""

    port: int


class Options(RecoveryOptions):
    """Bring the votes back: start members, have lost ones join, or make a new cluster of one member's data."""

    source: str = Field(
        default="",
        description="Most members are lost: go on with this one's data.",
        json_schema_extra={"option": "--from", "metavar": "HOST"},
    )


class Driver(ClusterDriver):
    """A cluster of votes."""

    SETTINGS = Settings
    OPTIONS = Options
    replicated = True

    def ask(self, host: str, method: str, path: str) -> Command:
        return Command(container=NAME, argv=("votes", "ask", self.url(host), method, path), timeout=10)

    def url(self, host: str) -> str:
        assert isinstance(self._settings, Settings)
        return f"http://{self.region.inventory.hosts[host].management}:{self._settings.port}"

    def questions(self, host: str) -> dict[str, Command]:
        return {"status": self.ask(host, "GET", "/status")} if self.here(host, NAME) else {}

    def parse(self, answers: Answers) -> Seen:
        said = {h: json.loads(a["status"].output) for h, a in answers.items() if "status" in a and not a["status"].code}
        working = {h: s for h, s in said.items() if s["status"] == "member" and s["leader"]}
        leader = next((s["leader"] for s in working.values()), "")
        view: dict[str, Any] = working.get(leader) or next(iter(said.values()), {"members": {}})
        members = tuple(sorted(set(view["members"].values())))
        state = ClusterState(
            name="Votes", service=self.service.name, members=members, alive=tuple(sorted(working)), wanted=self.hosts,
            leader=leader, hands_over=True,
        )  # fmt: skip
        return Seen(clusters=(state,))

    def leave(self, access: Access, state: ClusterState, host: str) -> None:
        if host in state.alive:
            own = json.loads(access.output(host, self.ask(host, "GET", "/status")))["id"]
            access.output(host, self.ask(host, "DELETE", f"/members/{own}"))

    def forget(self, access: Access, state: ClusterState, host: str, empty: bool) -> None:
        other = state.other(host)
        if not other or not empty:
            return
        for member, at in json.loads(access.output(other, self.ask(other, "GET", "/status")))["members"].items():
            if at == host:
                access.output(other, self.ask(other, "DELETE", f"/members/{member}"))
                access.say("note", f"Votes forgets {member} on {host}")

    def step_down(self, access: Access, state: ClusterState, host: str) -> None:
        access.output(host, self.ask(host, "POST", "/quiet"))

        def leads() -> str:
            found = json.loads(access.output(host, self.ask(host, "GET", "/status")))["leader"]
            return f"{host} leads" if found in ("", host) else ""

        if left := access.wait(leads, SECONDS, interval=0.2, show=False):
            raise ScsError(left)

    def recovery(self, options: RecoveryOptions) -> Procedure:
        return Votes(Options.model_validate(options.model_dump()), self)


class Member(Model):
    """What was seen of one member."""

    host: str
    container: ContainerState
    status: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)

    @property
    def id(self) -> str:
        return str(self.data.get("id", ""))

    @property
    def works(self) -> bool:
        return self.status.get("status") == "member" and bool(self.status.get("leader"))


def decide(members: list[Member], options: Options) -> Recovery:
    """Pure."""
    known(NAME, [m.host for m in members], (*options.without, *filter(None, [options.source])))
    table = tuple(
        {"host": m.host, "container": m.container.value, "leader": m.status.get("leader", ""), "id": m.id}
        for m in members
    )
    rest = [m for m in members if m.host not in options.without]
    working = [m for m in rest if m.works]
    holders = [m for m in rest if m.data]
    if working:
        counted = working[0].status["members"]
        steps = [
            _step("start" if m.id in counted else "rejoin", m) for m in rest if not m.works
        ]  # fmt: skip
        return Recovery(members=table, steps=tuple(steps), summary=f"{names(m.host for m in working)} work")
    size = max((len(m.data["members"]) for m in holders), default=len(members))
    if 2 * len(holders) > size and not options.source:
        return Recovery(members=table, steps=tuple(_step("start", m) for m in holders), summary="no leader",
                        partial=len(holders) < len(rest))  # fmt: skip
    source = next((m for m in holders if m.host == options.source), None)
    if source is None:
        raise RefusedError(f"votes: {len(holders)} of {size} members have data", "go on with one's data: --from HOST")
    others = [_step("rejoin", m) for m in rest if m is not source]
    return Recovery(members=table, steps=(_step("rebuild", source), *others), summary=f"{source.host} is to be taken")


def _step(action: str, m: Member) -> RecoveryStep:
    create = m.container is ContainerState.ABSENT
    return RecoveryStep(action=action, hosts=(m.host,), container=NAME, create=create, what=f"{action} votes")


@dataclass
class Votes:
    """The recovery."""

    options: Options
    driver: Driver
    service: str = NAME

    def read(self, access: Access) -> list[Member]:
        hosts = access.hosts(NAME)
        show = Command(container=NAME, argv=("votes", "show", DATA), one_shot=True)
        said = access.run({h: [self.driver.ask(h, "GET", "/status"), show] for h in hosts})
        result = []
        for host in hosts:
            if host not in said.by_host:
                result.append(Member(host=host, container=ContainerState.UNREACHABLE))
                continue
            status, data = said.by_host[host]
            found = {} if status.code else json.loads(status.output)
            kept = {} if data.code else json.loads(data.output)
            result.append(Member(host=host, container=running(status), status=found, data=kept))
        return result

    def settling(self, members: list[Member]) -> str:
        waiting = [m.host for m in members if m.container is ContainerState.RUNNING and not m.works]
        hopeless = 2 * len([m for m in members if m.data]) <= len(members)
        return f"waiting for {names(waiting)}" if waiting and not hopeless else ""

    def decide(self, members: list[Member]) -> Recovery:
        return decide(members, self.options)

    def act(self, access: Access, step: RecoveryStep) -> None:
        host = step.hosts[0]
        if not step.create:
            access.containers("stop", NAME, step.hosts)
        if step.action != "start":
            words = (DATA,) if step.action == "rejoin" else (host, self.driver.url(host), DATA)
            verb = "reset" if step.action == "rejoin" else "rebuild"
            access.require({host: [Command(container=NAME, argv=("votes", verb, *words), one_shot=True)]})
            self.options = self.options.model_copy(update={"source": ""})
        access.containers("create" if step.create else "start", NAME, step.hosts)
        if step.action != "start":
            access.until(lambda: self._missing(access, host), SECONDS, f"{host} does not work")

    def _missing(self, access: Access, host: str) -> str:
        answer = access.execute(host, self.driver.ask(host, "GET", "/status"))
        works = not answer.code and Member(host=host, container=running(answer), status=json.loads(answer.output)).works
        return "" if works else f"{host} joins"

    def put_back(self, access: Access) -> None:
        for host, container in sorted(access.stopped):
            access.containers("start", container, [host])
