# SPDX-License-Identifier: Apache-2.0
"""Rotating a key that encrypts what others must read: what hosts know and use in each step, in any interruption."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping

import pytest
import yaml
from cryptography.fernet import Fernet
from pydantic import ValidationError

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.desired import resolve
from scs_deploy.engine import remote
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.apply import Applied
from scs_deploy.operations.rotate import secrets as rotation
from scs_deploy.operations.rotate import state
from scs_deploy.operations.rotate.roll import Engine
from scs_deploy.operations.rotate.rotation import RotateRequest, RunRotation
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.secrets import store as secrets
from scs_deploy.secrets import vault
from scs_deploy.spec.secret import Format
from scs_deploy.spec.service import Service
from tests.support.secret_commands import run

KEK = "barbican_kek"
FORMATS = {KEK: Format.FERNET}


def keys(region: Region, values: Mapping[str, str]) -> list[str]:
    """What Barbican reads in its configuration: the first key encrypts, all decrypt."""
    there = dataclasses.replace(region, load_secrets=lambda _environment: {**region.secrets, **values})
    host = next(iter(region.inventory.hosts))
    found = []
    for container in ("barbican_api", "barbican_worker"):
        text = resolve.resolve(there, host, ["barbican"]).files[f"/etc/scs/{container}/barbican.conf"].content
        found.append(re.findall(r"(?m)^kek = (\S+)$", text))
    assert found[0] == found[1]
    return found[0]


def test_the_key_has_the_form_that_barbican_takes(environment: Environment) -> None:
    Fernet(secrets.load(environment)[KEK])


def test_no_host_meets_what_it_cannot_decrypt(environment: Environment, testbed: Region) -> None:
    """Hosts change one after the other: in each state and the one before, all decrypt what any encrypts."""
    steps: list[Callable[[], object]] = [
        lambda: None,
        lambda: secrets.announce(environment, [KEK], FORMATS),
        lambda: secrets.replace(environment, {KEK: ""}, FORMATS),
        lambda: secrets.forget_previous(environment, [KEK]),
    ]
    known: list[list[str]] = []
    for step in steps:
        step()
        known.append(keys(testbed, {n: v for n, v in secrets.load(environment).items() if n.startswith(KEK)}))
    old, new = known[0][0], known[-1][0]
    Fernet(new)
    assert known == [[old], [old, new], [new, old], [new]]


def test_an_interrupted_announcement_is_not_repeated(environment: Environment) -> None:
    assert secrets.announce(environment, [KEK], FORMATS) == [KEK]
    announced = secrets.load(environment)[f"{KEK}_next"]
    assert secrets.being_rotated(secrets.load(environment)) == [KEK]
    assert secrets.announce(environment, [KEK], FORMATS) == []
    secrets.replace(environment, {KEK: ""}, FORMATS)
    assert secrets.load(environment)[KEK] == announced
    assert secrets.announce(environment, [KEK], FORMATS) == []
    assert f"{KEK}_next" not in secrets.load(environment)


def test_a_value_that_is_no_key_is_refused_before_anything_is_done(environment: Environment) -> None:
    values = {**secrets.load(environment), f"{KEK}_previous": "a password of thirty-two letters"}
    vault.save(environment, environment.secrets_file, secrets.dump(values))
    with pytest.raises(RefusedError, match=f"secrets.yml: {KEK}_previous: not a key of Fernet"):
        _ = Region.load("berlin").secrets


@pytest.fixture
def rotated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a rotation did, in order; servers and hosts do nothing."""
    done: list[str] = []

    def apply(_self: RunRotation, region: Region, _selection: Selection) -> Applied:
        mine = {n.removeprefix(KEK) for n in region.secrets if n.startswith(KEK)}
        done.append(f"roll {' '.join(sorted(mine - {''}))}".strip())
        return Applied("r1", 1, 0)

    def execute(_region: Region, commands: dict[str, list[remote.Command]]) -> remote.Answers:
        ((host, (command,)),) = commands.items()
        done.append(f"{command.container} {' '.join(command.argv)}")
        return remote.Answers({host: (remote.Answer(code=1 if "broken" in done else 0, output="3 keys left"),)})

    monkeypatch.setattr(rotation, "accounts", lambda _region: "")
    monkeypatch.setattr(Engine, "refuse_pending", lambda _self: "")
    monkeypatch.setattr(RunRotation, "_roll", apply)
    monkeypatch.setattr(remote, "execute", execute)
    return done


def test_what_the_old_key_encrypted_is_encrypted_anew_before_it_goes(
    environment: Environment,
    lock_file: None,
    rotated: list[str],
) -> None:
    old = secrets.load(environment)[KEK]
    assert RunRotation(Region.load("berlin"), RotateRequest(kind="secrets", names=(KEK,))).run().waits_for == ""
    assert rotated == ["roll _next", "roll _previous", "barbican_worker /etc/barbican/kek.py rewrap", "roll"]
    assert secrets.load(environment)[KEK] != old
    assert old not in secrets.load(environment).values()


def test_the_old_key_stays_while_something_needs_it(
    environment: Environment,
    lock_file: None,
    rotated: list[str],
) -> None:
    rotated.append("broken")
    request = RotateRequest(kind="secrets", names=(KEK,))
    with pytest.raises(ScsError, match=r"barbican_kek on .*: 3 keys left"):
        RunRotation(Region.load("berlin"), request).run()
    assert f"{KEK}_previous" in secrets.load(environment)
    rotated.clear()
    RunRotation(Region.load("berlin"), request).run()
    assert rotated == ["barbican_worker /etc/barbican/kek.py rewrap", "roll"]
    assert state.load(environment) is None


def test_a_key_of_an_older_backup_is_taken_in(
    environment: Environment,
    lock_file: None,
    rotated: list[str],
) -> None:
    """The operator wrote it as the previous one: the rotation begins there, and keeps the present one."""
    values = secrets.load(environment)
    vault.save(
        environment,
        environment.secrets_file,
        secrets.dump({**values, f"{KEK}_previous": Fernet.generate_key().decode()}),
    )
    RunRotation(Region.load("berlin"), RotateRequest(kind="secrets", names=(KEK,))).run()
    assert "barbican_worker /etc/barbican/kek.py rewrap" in rotated
    assert secrets.load(environment) == values


def test_the_plan_names_each_step(environment: Environment) -> None:
    said = run("secrets", "rotate", KEK, "--plan")
    order = ["have every host know the next", "switch every service", "encrypt with the new", "remove the old values"]
    places = [said.index(words) for words in order]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"reencrypt": {}}, "rotate.barbican_kek: `in turn` needs a command in `reencrypt`"),
        ({"rotate": {}}, "rotate.barbican_kek: `in turn` needs a command in `reencrypt`"),
        ({"reencrypt": {KEK: {"container": "nobody", "command": "true"}}}, "no container 'nobody'"),
        ({"formats": {"other": "fernet"}}, "formats.other: not in `secrets`"),
        ({"formats": {KEK: "a word"}}, "formats.barbican_kek: Input should be 'password'"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(keys: dict[str, object], said: str, testbed: Region) -> None:
    directory = testbed.catalog.services["barbican"].directory
    spec = yaml.safe_load((directory / "service.yml").read_text())
    with pytest.raises(ValidationError) as error:
        Service.model_validate({"name": "barbican", "directory": directory, **spec, **keys})
    assert said.split(": ")[-1] in str(error.value)
