# SPDX-License-Identifier: Apache-2.0
"""One apply takes groups through all stages of the exchange of their CA, as far as every host can follow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from scs_deploy.engine.events import Event
from scs_deploy.operations.apply import Applied, Apply, ApplyRequest, Converge
from scs_deploy.operations.base import Session, always_agree
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki, vault
from scs_deploy.secrets.pki import Certificates
from tests.support.certificates import member, server
from tests.unit.secrets.test_secrets import region as environment_in

WANTED = {"galera/a": member("galera", "a"), "galera/b": member("galera", "b")}


class Hosts:
    """A region with one certificate for each host, and the certificates that its hosts were given."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.environment = environment_in(folder)
        vault.create_password(self.environment)
        pki.ensure(self.environment, {"a": server("a", client=True), "b": server("b", client=True)})
        pki.ensure(self.environment, WANTED)
        self.given: list[Certificates] = []
        self.held: list[int] = []
        self.said: list[Event] = []
        monkeypatch.setattr(Converge, "execute", self._execute)
        monkeypatch.setattr(Region, "load", lambda _name: cast(Any, self))

    def _execute(self, _session: Session, confirm: Callable[[object], bool], *_more: object) -> Applied:
        if not confirm(None):
            return Applied("", 0, 0)
        self.given.append(pki.load(self.environment))
        return Applied(f"run-{len(self.given)}", 2, self.held.pop(0) if self.held else 0)

    def emit(self, event: Event) -> None:
        self.said.append(event)

    def check(self) -> None:
        """The lock is held."""

    def apply(self, confirm: Callable[[object], bool] = always_agree, **request: Any) -> Applied:
        operation = Apply.__new__(Apply)
        operation.region, operation.request = cast(Any, self), ApplyRequest(**request)
        return operation.execute(cast(Any, self), confirm)


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    return Hosts(tmp_path, monkeypatch)


def test_one_apply_ends_the_exchange(hosts: Hosts) -> None:
    done = hosts.apply()
    assert (done.run, done.changes, done.held) == ("run-3", 6, 0)
    trusted = [c.group_pem["galera"].count("BEGIN") for c in hosts.given]
    assert trusted == [2, 2, 1]
    assert len({c.leaf("galera/a").cert for c in hosts.given}) == 2
    assert len(hosts.said) == 2
    assert pki.moving(hosts.environment) == []
    assert hosts.apply().run == "run-4"


def test_nothing_is_presented_that_a_host_without_consent_does_not_accept(hosts: Hosts) -> None:
    hosts.held = [1]
    assert hosts.apply().held == 1
    assert len(hosts.given) == 1
    assert pki.moving(hosts.environment) == ["galera"]
    # with consent the next apply goes on
    assert hosts.apply().run == "run-4"
    assert pki.moving(hosts.environment) == []


@pytest.mark.parametrize("part", [{"services": ("mariadb",)}, {"hosts": ("a",)}])
def test_a_part_of_the_region_does_not_move_the_whole(part: dict[str, Any], hosts: Hosts) -> None:
    hosts.apply(**part)
    assert len(hosts.given) == 1
    assert pki.moving(hosts.environment) == ["galera"]


def test_each_stage_is_confirmed(hosts: Hosts) -> None:
    answers = [True, False]
    done = hosts.apply(confirm=lambda _plan: answers.pop(0))
    assert done.run == "run-1"
    assert len(hosts.given) == 1
    assert hosts.apply().run == "run-3"
