# SPDX-License-Identifier: Apache-2.0
"""What a rotation is made of, and how far it is: `state/rotation.json`, which holds names and times, never a secret."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.engine.events import Note
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.base import Session, Step
from scs_deploy.secrets import vault

Kind = Literal["certificates", "ca", "secrets"]


class Rotation(Model):
    """A rotation that began and has not ended."""

    kind: Kind
    names: tuple[str, ...]
    started: str
    done: dict[str, str] = Field(default_factory=dict, description="step: when it ended")

    @property
    def command(self) -> str:
        """The command that goes on with it."""
        return command(self.kind, self.names)


def command(kind: Kind, names: Sequence[str]) -> str:
    """The command of a rotation."""
    if kind == "ca":
        return "scs certs rotate --ca"
    return f"scs {'certs' if kind == 'certificates' else 'secrets'} rotate {' '.join(names)}".rstrip()


@dataclass(frozen=True)
class RotationStep(Step):
    """One step. It may be repeated without harm: an interrupted rotation begins with the step that it was at."""

    ask: str = ""
    """what the operator must have done before; the rotation waits here until told so"""


def file(environment: Environment) -> Path:
    """Where the state of a rotation is kept."""
    return environment.state / "rotation.json"


def load(environment: Environment) -> Rotation | None:
    """The rotation that has not ended, if any.

    :raises RefusedError: the file cannot be read
    """
    try:
        return Rotation.model_validate_json(file(environment).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, UnicodeDecodeError):
        raise RefusedError(
            f"{file(environment)}: cannot be read", "remove it and repeat the command: every step may be repeated"
        ) from None


def begin(environment: Environment, kind: Kind, names: Sequence[str]) -> Rotation:
    """A new rotation, or the one of these names that was interrupted; nothing is written yet.

    :raises RefusedError: another one has not ended
    """
    found = load(environment)
    if found is None:
        return Rotation(kind=kind, names=tuple(names), started=_now())
    if (found.kind, found.names) != (kind, tuple(names)):
        raise RefusedError(f"a rotation of {found.started} has not ended", f"finish it first: {found.command}")
    return found


def carry_out(
    session: Session, rotation: Rotation, steps: Sequence[RotationStep], agreed: frozenset[str] = frozenset()
) -> RotationStep | None:
    """Do the steps that are not done yet, each noted as it ends, and forget the rotation after the last.

    :param agreed: keys of steps whose `ask` the operator has answered
    :returns: the step that waits for the operator; None when all is done
    :raises ScsError: a step failed; the same rotation goes on with it
    """
    environment = session.environment
    for step in steps:
        if step.key in rotation.done:
            session.emit(Note(f"{step.title}: done before"))
            continue
        # written first: whoever looks finds that a rotation is under way
        vault.write(file(environment), rotation.model_dump_json(indent=2) + "\n")
        if step.ask and step.key not in agreed:
            return step
        session.take("rotate", step)
        rotation = rotation.model_copy(update={"done": {**rotation.done, step.key: _now()}})
        vault.write(file(environment), rotation.model_dump_json(indent=2) + "\n")
    file(environment).unlink(missing_ok=True)
    return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
