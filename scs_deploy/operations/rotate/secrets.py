# SPDX-License-Identifier: Apache-2.0
"""Steps that give secrets new values while the region works.

New value and old one are in secrets.yml together; servers accept both; services get the new one, member by member; then
the old one is forgotten. What a step must do follows from secrets.yml, so a plain `scs apply` in between does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from pydantic import Field

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.engine import remote
from scs_deploy.operations.rotate.roll import Engine
from scs_deploy.operations.rotate.state import RotationStep
from scs_deploy.plan.change import Kind, shared_objects
from scs_deploy.region.region import Region
from scs_deploy.secrets import clouds
from scs_deploy.secrets import store as secrets
from scs_deploy.shared import state as shared_state
from scs_deploy.spec.catalog import Catalog
from scs_deploy.spec.service import KeyRotation, Rotate

ALL = "all"
OLD = {
    Rotate.BOTH: "is accepted until every service has the new one",
    Rotate.SECOND_USER: "is accepted, of the other user, until every service has the new one",
    Rotate.AT_ONCE: "is refused as soon as one side has the new one",
    Rotate.BY_HAND: "",
}
"""What becomes of the old value meanwhile."""


class Rotated(Model):
    """A secret and how it gets a new value."""

    name: str
    how: Rotate
    services: tuple[str, ...] = Field(description="that declare it")
    first_user: str = Field(default="", description="the first one of its two users")


def known(catalog: Catalog) -> dict[str, Rotated]:
    """Every secret of the catalog, by name."""
    found: dict[str, Rotated] = {}
    for service in catalog.services.values():
        for name in service.all_secrets:
            how = service.how_to_rotate(name)
            first = ""
            if how is Rotate.SECOND_USER:
                first = shared_state.BROKER_ADMINISTRATOR if name in service.secrets else service.name
            before = found[name].services if name in found else ()
            found[name] = Rotated(name=name, how=how, services=(*before, service.name), first_user=first)
    return found


def choose(names: Iterable[str], catalog: Catalog) -> list[Rotated]:
    """The named secrets of secrets.yml, sorted; `all` stands for every one that scs rotates.

    :raises RefusedError: a name that is no secret of a service, or one that scs does not rotate
    """
    there = known(catalog)
    wanted = set(names) - set(keys(catalog))
    if ALL in wanted:
        wanted.remove(ALL)
        wanted |= {n for n, r in there.items() if r.how is not Rotate.BY_HAND}
    for name in sorted(wanted):
        if name not in there:
            raise RefusedError(
                f"no service has a secret '{name}'", "scs secrets list; others are rotated where they are made"
            )
        if there[name].how is Rotate.BY_HAND:
            raise RefusedError(
                f"{name} cannot be rotated while {', '.join(there[name].services)} works",
                "docs/how-to/secrets.md says how",
            )
    return [there[n] for n in sorted(wanted)]


def keys(catalog: Catalog) -> dict[str, tuple[str, KeyRotation]]:
    """Keys that services keep themselves: name -> service, how."""
    return {n: (s.name, how) for s in catalog.services.values() for n, how in s.key_rotations.items()}


def key_steps(engine: Engine, names: Iterable[str]) -> list[RotationStep]:
    """Rotate keys that services keep themselves."""
    found = keys(engine.region().catalog)
    return [
        RotationStep(f"rotate {n}", f"rotate {n} where {found[n][0]} keeps them", partial(rotate_keys, engine, n))
        for n in sorted(names)
    ]


def rotate_keys(engine: Engine, name: str) -> str:
    """Have a service rotate its keys; says what it said.

    :raises ScsError: it refuses, or its host cannot be reached
    """
    region = engine.region()
    service, how = keys(region.catalog)[name]
    host = region.inventory.group(region.group_of(service, how.container))[0].name
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
    """Every secret that has a previous value must be among the chosen ones: else it would never be forgotten.

    :raises RefusedError: another one has
    """
    left = sorted(set(secrets.being_rotated(values)) - {r.name for r in chosen})
    if left:
        raise RefusedError(f"{left[0]} is being rotated", f"finish it first: scs secrets rotate {' '.join(left)}")


def steps(engine: Engine, chosen: Sequence[Rotated]) -> list[RotationStep]:
    """Give the chosen secrets new values."""
    names = [r.name for r in chosen]

    def replace() -> str:
        region = engine.region()
        refuse_others(region.secrets, chosen)
        new = secrets.replace(region.environment, {r.name: r.first_user for r in chosen})
        return f"new: {', '.join(new) or 'all before'}"

    def accept() -> str:
        said = accounts(engine.region())
        # the administrator's password is the new one from here on
        clouds.write(engine.region().environment)
        return said

    def forget() -> str:
        gone = secrets.forget_previous(engine.region().environment, names)
        return f"forgotten: {', '.join(gone) or 'all before'}"

    return [
        RotationStep("pending", "see that the region is as desired", engine.refuse_pending),
        RotationStep(
            "replace", f"make {len(names)} new value(s), the old ones stay in secrets.yml as *_previous", replace
        ),
        RotationStep("accept", f"have servers accept the new ones: {_how(chosen)}", accept),
        RotationStep("roll", "give every service its new values, one member after the other", engine.roll),
        RotationStep("forget", "forget the old values", forget),
        RotationStep("roll-forget", "have servers refuse the old ones", engine.roll),
    ]


def _how(chosen: Sequence[Rotated]) -> str:
    counts = {how: sum(r.how is how and r.name != clouds.PASSWORD for r in chosen) for how in Rotate}
    said = [
        (counts[Rotate.BOTH], "beside the old value"),
        (counts[Rotate.SECOND_USER], "with a second user"),
        (counts[Rotate.AT_ONCE], "instead of the old value, with the services"),
        (sum(r.name == clouds.PASSWORD for r in chosen), "instead of the old value, now"),
    ]
    return ", ".join(f"{count} {text}" for count, text in said if count)


def accounts(region: Region) -> str:
    """Bring the accounts of database, broker and Keystone to what secrets.yml says.

    :raises ScsError: a server does not answer, or refuses
    """
    state = shared_state.read(region)
    if state.failed:
        raise ScsError("; ".join(state.failed.values()), "nothing was changed there: fix it and repeat the command")
    changes = [c for c in state.changes if c.kind is Kind.ACCOUNT]
    if not changes:
        return "they do already"
    shared_state.apply(region, {s.server for s in shared_objects(changes)}, [c.subject for c in changes])
    return f"{len(changes)} accounts changed"
