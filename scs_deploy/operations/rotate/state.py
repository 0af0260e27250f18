# SPDX-License-Identifier: Apache-2.0
"""The steps of a rotation and its progress in `state/rotation.json`, which holds names and times but no secrets."""

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
    """An unfinished rotation."""

    kind: Kind
    names: tuple[str, ...]
    started: str
    done: dict[str, str] = Field(default_factory=dict, description="step: time at which it was done")

    @property
    def command(self) -> str:
        """The command that continues it."""
        return command(self.kind, self.names)


def command(kind: Kind, names: Sequence[str]) -> str:
    """The command of a rotation."""
    if kind == "ca":
        return "scs certs rotate --ca"
    return f"scs {'certs' if kind == 'certificates' else 'secrets'} rotate {' '.join(names)}".rstrip()


@dataclass(frozen=True)
class RotationStep(Step):
    """One step. It must be repeatable: an interrupted rotation resumes with the step at which it stopped."""

    ask: str = ""
    """what the operator must do before; the rotation stops here until the operator confirms it"""


def file(environment: Environment) -> Path:
    """The file with the progress of a rotation."""
    return environment.state / "rotation.json"


def load(environment: Environment) -> Rotation | None:
    """The unfinished rotation, if any.

    :raises RefusedError: the file cannot be read
    """
    try:
        return Rotation.model_validate_json(file(environment).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, UnicodeDecodeError):
        raise RefusedError(
            f"{file(environment)}: cannot be read", "remove it and repeat the command: every step can be repeated"
        ) from None


def begin(environment: Environment, kind: Kind, names: Sequence[str]) -> Rotation:
    """A new rotation, or the unfinished one of these names. Writes nothing.

    :raises RefusedError: another rotation is unfinished
    """
    unfinished = load(environment)
    if unfinished is None:
        return Rotation(kind=kind, names=tuple(names), started=_now())
    if (unfinished.kind, unfinished.names) != (kind, tuple(names)):
        raise RefusedError(
            f"the rotation started at {unfinished.started} is unfinished", f"finish it first: {unfinished.command}"
        )
    return unfinished


def carry_out(
    session: Session, rotation: Rotation, steps: Sequence[RotationStep], agreed: frozenset[str] = frozenset()
) -> RotationStep | None:
    """Run the remaining steps, save the progress after each, and remove the progress file after the last.

    :param agreed: keys of steps whose `ask` the operator has confirmed
    :returns: the step that waits for the operator; None: all steps are done
    :raises ScsError: a step failed; repeat the same rotation to continue with it
    """
    environment = session.environment
    for step in steps:
        if step.key in rotation.done:
            session.emit(Note(f"{step.title}: already done"))
            continue
        # written first, so that other operations see that a rotation is in progress
        vault.write(file(environment), rotation.model_dump_json(indent=2) + "\n")
        if step.ask and step.key not in agreed:
            return step
        session.run_step("rotate", step)
        rotation = rotation.model_copy(update={"done": {**rotation.done, step.key: _now()}})
        vault.write(file(environment), rotation.model_dump_json(indent=2) + "\n")
    file(environment).unlink(missing_ok=True)
    return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
