# SPDX-License-Identifier: Apache-2.0
"""The steps that rotate secrets while the region keeps working.

secrets.yml holds the new and the old value; servers accept both; services switch to the new one host by host; then the
old one is removed. Each step derives its work from secrets.yml, so a plain `scs apply` in between does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from pydantic import Field

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.base.plural import counted
from scs_deploy.engine import remote
from scs_deploy.operations.rotate.roll import Engine
from scs_deploy.operations.rotate.state import RotationStep
from scs_deploy.plan.change import Kind, shared_objects
from scs_deploy.region.region import Region
from scs_deploy.secrets import clouds, signing
from scs_deploy.secrets import store as secrets
from scs_deploy.shared import state as shared_state
from scs_deploy.spec.catalog import Catalog
from scs_deploy.spec.secret import Format
from scs_deploy.spec.service import KeyRotation, Reencryption, Rotate

ALL = "all"
OLD = {
    Rotate.BOTH: "is accepted until every service has the new one",
    Rotate.SECOND_USER: "is accepted, of the other user, until every service has the new one",
    Rotate.IN_TURN: "decrypts until everything is encrypted with the new one",
    Rotate.AT_ONCE: "is refused as soon as one side has the new one",
    Rotate.BY_HAND: "",
}
"""What happens to the old value during the rotation."""


class Rotated(Model):
    """A secret and how it is rotated."""

    name: str
    how: Rotate
    services: tuple[str, ...] = Field(description="that declare it")
    first_user: str = Field(default="", description="the first one of its two users")
    kind: Format = Field(default=Format.PASSWORD, description="what its values are")


def known(catalog: Catalog) -> dict[str, Rotated]:
    """Every secret of the catalog, by name."""
    rotated: dict[str, Rotated] = {}
    for service in catalog.services.values():
        for name in service.all_secrets:
            how = service.how_to_rotate(name)
            first = ""
            if how is Rotate.SECOND_USER:
                first = shared_state.BROKER_ADMINISTRATOR if name in service.secrets else service.name
            before = rotated[name].services if name in rotated else ()
            kind = service.formats.get(name, Format.PASSWORD)
            rotated[name] = Rotated(name=name, how=how, services=(*before, service.name), first_user=first, kind=kind)
    return rotated


def choose(names: Iterable[str], catalog: Catalog) -> list[Rotated]:
    """The named secrets, sorted; `all` stands for every one that scs can rotate.

    :raises RefusedError: a name is not a secret of a service, or scs cannot rotate it
    """
    there = known(catalog)
    wanted = set(names) - set(keys(catalog)) - {signing.SECRET}
    if ALL in wanted:
        wanted.remove(ALL)
        wanted |= {n for n, r in there.items() if r.how is not Rotate.BY_HAND}
    for name in sorted(wanted):
        if name not in there:
            raise RefusedError(
                f"no service has a secret '{name}'", "scs secrets list; rotate other secrets where they were created"
            )
        if there[name].how is Rotate.BY_HAND:
            raise RefusedError(
                f"{name} cannot be rotated while {', '.join(there[name].services)} is in use",
                "see docs/how-to/secrets.md",
            )
    return [there[n] for n in sorted(wanted)]


def keys(catalog: Catalog) -> dict[str, tuple[str, KeyRotation]]:
    """Keys that services keep themselves: name -> service, how."""
    return {n: (s.name, how) for s in catalog.services.values() for n, how in s.key_rotations.items()}


def key_steps(engine: Engine, names: Iterable[str]) -> list[RotationStep]:
    """Rotate keys that services keep themselves."""
    owners = keys(engine.region().catalog)
    return [
        RotationStep(f"rotate {n}", f"have {owners[n][0]} rotate {n}", partial(rotate_keys, engine, n))
        for n in sorted(names)
    ]


def signing_steps(engine: Engine, names: Iterable[str]) -> list[RotationStep]:
    """Rotate the key of backups, which no host knows."""
    if not {signing.SECRET, ALL} & set(names):
        return []
    do = partial(_rotate_signing, engine)
    return [RotationStep(f"rotate {signing.SECRET}", f"generate a new {signing.SECRET}; earlier ones stay valid", do)]


def _rotate_signing(engine: Engine) -> str:
    return signing.rotate(engine.region().environment)


def rotate_keys(engine: Engine, name: str) -> str:
    """Have a service rotate its keys; returns its output.

    :raises ScsError: it fails, or its host is unreachable
    """
    region = engine.region()
    return _command(region, name, *keys(region.catalog)[name])


def reencryptions(catalog: Catalog) -> dict[str, tuple[str, Reencryption]]:
    """What encrypts anew after a secret has changed: secret -> service, how."""
    return {n: (s.name, how) for s in catalog.services.values() for n, how in s.reencrypt.items()}


def _command(region: Region, name: str, service: str, how: KeyRotation | Reencryption) -> str:
    """Run a service's command on the first host that has the container; returns its output.

    :raises ScsError: it fails, or the host is unreachable
    """
    host = region.hosts_of(service, how.container)[0].name
    command = remote.Command(container=how.container, argv=how.command, timeout=how.timeout)
    answers = remote.execute(region, {host: [command]})
    if host not in answers.by_host:
        raise ScsError(f"host {host}: {answers.unreachable.get(host, 'no answer')}", f"scs status {service}")
    answer = answers.by_host[host][0]
    said = " ".join(answer.output.split())[-300:]
    if answer.code:
        raise ScsError(f"{name} on {host}: {said}", f"scs logs {how.container}")
    return said


def refuse_others(values: Mapping[str, str], chosen: Iterable[Rotated]) -> None:
    """Check that no other secret has a next or previous value, which this rotation would never remove.

    :raises RefusedError: another secret has one
    """
    left = sorted(set(secrets.being_rotated(values)) - {r.name for r in chosen})
    if left:
        raise RefusedError(f"{left[0]} is being rotated", f"finish it first: scs secrets rotate {' '.join(left)}")


def steps(engine: Engine, chosen: Sequence[Rotated]) -> list[RotationStep]:
    """The steps that rotate the chosen secrets."""
    names = [r.name for r in chosen]

    def replace() -> str:
        region = engine.region()
        refuse_others(region.secrets, chosen)
        new = secrets.replace(region.environment, {r.name: r.first_user for r in chosen}, _formats(chosen))
        return f"new: {', '.join(new) or 'none, all were replaced before'}"

    def accept() -> str:
        said = accounts(engine.region())
        # from here on, the administrator's new password is valid
        clouds.write(engine.region().environment)
        return said

    def forget() -> str:
        removed = secrets.forget_previous(engine.region().environment, names)
        return f"removed: {', '.join(removed) or 'none, all were removed before'}"

    in_turn = [r for r in chosen if r.how is Rotate.IN_TURN]
    return [
        RotationStep("pending", "check that no changes are pending", engine.refuse_pending),
        *(_announcement(engine, chosen, in_turn) if in_turn else ()),
        RotationStep(
            "replace",
            f"generate {counted(len(names), 'new value')}; the old ones stay in secrets.yml as *_previous",
            replace,
        ),
        RotationStep("accept", f"have servers accept the new values: {_how(chosen)}", accept),
        RotationStep("roll", "switch every service to the new values, one host at a time", engine.roll),
        *(
            RotationStep(
                f"reencrypt {r.name}",
                f"have {r.services[0]} encrypt with the new {r.name} what the old one encrypted",
                partial(_reencrypt, engine, r.name),
            )
            for r in in_turn
        ),
        RotationStep("forget", "remove the old values from secrets.yml", forget),
        RotationStep("roll-forget", "have servers reject the old values", engine.roll),
    ]


def _announcement(engine: Engine, chosen: Sequence[Rotated], in_turn: Sequence[Rotated]) -> list[RotationStep]:
    """Steps after which every host knows the new values, and none uses them."""
    names = [r.name for r in in_turn]

    def announce() -> str:
        region = engine.region()
        refuse_others(region.secrets, chosen)
        new = secrets.announce(region.environment, names, _formats(in_turn))
        return f"next: {', '.join(new) or 'none, all were announced before'}"

    said = ", ".join(names)
    return [
        RotationStep("announce", f"generate the next {said}, in secrets.yml as *_next", announce),
        RotationStep("roll-announce", f"have every host know the next {said}, before any uses it", engine.roll),
    ]


def _reencrypt(engine: Engine, name: str) -> str:
    region = engine.region()
    return _command(region, name, *reencryptions(region.catalog)[name])


def _formats(chosen: Iterable[Rotated]) -> dict[str, Format]:
    return {r.name: r.kind for r in chosen}


def _how(chosen: Sequence[Rotated]) -> str:
    counts = {how: sum(r.how is how and r.name != clouds.PASSWORD for r in chosen) for how in Rotate}
    said = [
        (counts[Rotate.BOTH], "in addition to the old value"),
        (counts[Rotate.SECOND_USER], "with a second user"),
        (counts[Rotate.IN_TURN], "known to every host"),
        (counts[Rotate.AT_ONCE], "instead of the old value, when services switch"),
        (sum(r.name == clouds.PASSWORD for r in chosen), "instead of the old value, immediately"),
    ]
    return ", ".join(f"{count} {text}" for count, text in said if count)


def accounts(region: Region) -> str:
    """Update the accounts in the database, the broker and Keystone from secrets.yml.

    :raises ScsError: a server does not respond, or rejects a change
    """
    run = remote.runner_in(region)
    state = shared_state.read(region, run)
    if state.failed:
        raise ScsError("; ".join(state.failed.values()), "it was not changed; fix it and repeat the command")
    changes = [c for c in state.changes if c.kind is Kind.ACCOUNT]
    if not changes:
        return "all are up to date"
    shared_state.apply(region, {s.server for s in shared_objects(changes)}, [c.subject for c in changes], run)
    return f"{counted(len(changes), 'account')} changed"
