# SPDX-License-Identifier: Apache-2.0
"""What loading a part would add to what is there, for parts that only add: their service compares, see `Saved`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import ValidationError

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.operations.backup import parts, stream, unpack
from scs_deploy.operations.backup.choose import Chosen
from scs_deploy.operations.backup.stream import Remote
from scs_deploy.region.region import Region
from scs_deploy.spec.service import Saved


class Preview(Model):
    """What a service answers."""

    changes: tuple[str, ...] = ()
    """what is lost, and would be added"""
    removed: tuple[str, ...] = ()
    """what is missing, but was taken away on purpose"""
    notes: tuple[str, ...] = ()
    """what differs, and stays as it is"""

    def adds(self, explicit: bool) -> tuple[str, ...]:
        """What a restore adds.

        :param explicit: the operator named the part
        """
        return (*self.changes, *(self.removed if explicit else ()))

    def words(self, part: str, explicit: bool) -> tuple[str, ...]:
        """Notes for the plan."""
        found = [f"{part}: {note}" for note in self.notes]
        if self.removed and not explicit:
            found.append(
                f"{part}: removed since the backup, and not restored unless you add --only {part}: "
                + ", ".join(self.removed)
            )
        if not self.adds(explicit):
            found.append(f"{part}: nothing to add")
        return tuple(found)


def ask(
    region: Region, chosen: Chosen, declared: Mapping[str, Saved], where: Mapping[str, Collection[str]], secret: str
) -> dict[str, Preview]:
    """Have services compare; a part without preview has no entry. Changes nothing.

    :param where: container: hosts on which it loads
    :raises RefusedError: a part does not belong to this region, or its service does not answer
    """
    return {
        name: _ask(region, chosen, name, saved, next(iter(where[saved.container])), secret)
        for name, saved in declared.items()
        if saved.preview
    }


def _ask(region: Region, chosen: Chosen, name: str, saved: Saved, host: str, secret: str) -> Preview:
    part = chosen.backup.part(name)
    assert part
    assert saved.preview
    command = stream.inside(saved.container, stream.loading(saved.preview))
    try:
        with Remote(region, host, command) as remote:
            unpack.plain(chosen.target, chosen.backup, part, secret, remote.input)
            remote.input.close()
            text = remote.output.read()
        return Preview.model_validate_json(text)
    except ValidationError:
        raise RefusedError(f"{name}: {host} answered in a form that this version does not know", "update scs") from None
    except RefusedError:
        raise
    except ScsError as error:
        service = name.partition(".")[0]
        raise RefusedError(
            f"{name} of backup {chosen.backup.id} cannot be restored: {error.message}",
            f"scs status {service}; --only restores other parts without it",
        ) from None


def adding(found: Mapping[str, Preview], only: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Part: what it adds. Without those that add nothing."""
    return {n: adds for n, p in found.items() if (adds := p.adds(parts.named(n, only)))}
