# SPDX-License-Identifier: Apache-2.0
"""A session with the region's monitors: `ask.py` in the container of one that answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from scs_deploy.base.errors import ScsError
from scs_deploy.plan.change import Change
from scs_deploy.region import ceph
from scs_deploy.region.region import Region
from scs_deploy.shared.ceph import disks, growth
from scs_deploy.shared.ceph.commands import commands
from scs_deploy.shared.ceph.desired import Desired
from scs_deploy.shared.ceph.observed import QUESTIONS, Observed

Run = Callable[[str, str, tuple[str, ...]], tuple[int, str]]
"""Runs a command in a container: (host, container, argv) -> (exit code, output)."""


@lru_cache(maxsize=1)
def program() -> str:
    """`ask.py`, which travels along with each question."""
    return Path(__file__).with_name("ask.py").read_text(encoding="utf-8")


class Ceph:
    """The monitors of a region, as a context manager.

    :param run: how commands get into containers
    """

    def __init__(self, region: Region, run: Run) -> None:
        self._hosts = list(ceph.monitors(region))
        self._run = run

    def __enter__(self) -> Ceph:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open."""

    def read(self, desired: Desired) -> Observed:
        """Read everything that is compared; how full each disk is only where a change needs room.

        :raises ScsError: no monitor answers
        """
        observed = Observed.parse(self.ask(QUESTIONS))
        if not growth.asks(desired, observed):
            return observed
        return observed.model_copy(update={"osds": disks.osds(self.ask(disks.QUESTIONS))})

    def apply(self, desired: Desired, changes: Iterable[Change]) -> None:
        """Make changes from `diff`. Each may be repeated.

        :raises ScsError: no monitor answers, or it rejects a change
        """
        if chosen := list(changes):
            self.ask(commands(desired, self.read(desired), chosen))

    def ask(self, questions: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The data of the answers.

        :raises ScsError: no monitor answers, or a command fails
        """
        if not questions:
            return []
        text = json.dumps(list(questions))
        said = "no host runs a monitor"
        for host in tuple(self._hosts):
            code, output = self._run(host, ceph.MONITOR, ("python3", "-c", program(), text))
            if code == 0:
                return self._data(questions, output)
            said = f"{host}: {(output.strip().splitlines() or ['no answer'])[-1]}"
            # the next question goes to another one first
            self._hosts.append(self._hosts.pop(0))
        raise ScsError(f"ceph: {said}", "scs status ceph")

    def _data(self, questions: Sequence[Mapping[str, Any]], output: str) -> list[Any]:
        try:
            answers = json.loads(output[output.index('{"answers"') :])["answers"]
        except (ValueError, KeyError):
            raise ScsError(f"ceph: answered {output[:200]!r}", "scs logs ceph_mon") from None
        for question, answer in zip(questions, answers, strict=False):
            if answer["code"] and not question.get("tolerated"):
                prefix = " ".join(str(question[k]) for k in ("prefix", "pool", "name") if k in question)
                raise ScsError(f"ceph: {prefix}: {answer['text'] or answer['code']}", "scs storage status")
        return [a["data"] for a in answers]
