# SPDX-License-Identifier: Apache-2.0
"""(wanted files, what the host has) -> what changes there; pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import PurePosixPath

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.spec.container import Impact

SETTLE = 30
"""Seconds that the host gives its links to come up, as the program there has it."""


class Observed(Model):
    """What the module reads on a host."""

    files: dict[str, str] = Field(description="ours, those to be replaced, resolv.conf; path: text")
    active: bool = Field(description="systemd-networkd runs")
    enabled: bool = Field(description="systemd-networkd starts with the host")
    resolved: bool = Field(description="systemd-resolved takes the name servers of the links")
    missing: tuple[str, ...] = Field(default=(), description="programs that the renderer needs and the host lacks")
    trying: bool = Field(default=False, description="a change waits for its confirmation, or is being taken back")
    faults: tuple[str, ...] = Field(default=(), description="links that are not as the files say")


class FileChange(Model):
    """One file that is written or removed."""

    path: str
    action: str = Field(description="create, change or remove")
    lines: tuple[str, ...] = Field(description="with - and + before them")


class HostNetwork(Model):
    """What changes on a host."""

    host: str
    files: tuple[FileChange, ...] = ()
    reasons: tuple[str, ...] = Field(default=(), description="besides the files")
    impact: Impact = Impact.NETWORK

    @property
    def empty(self) -> bool:
        """Nothing changes."""
        return not self.files and not self.reasons


def compare(host: str, wanted: Mapping[str, str], observed: Observed) -> HostNetwork:
    """The changes of a host, files sorted by path.

    :param wanted: of `render.files`
    """
    found = [_change(path, observed.files.get(path), text) for path, text in wanted.items()]
    found += [_change(path, observed.files[path], None) for path in unwanted(wanted, observed)]
    reasons = [
        text
        for text, holds in (
            ("systemd-networkd does not run", not observed.active),
            ("systemd-networkd does not start with the host", not observed.enabled),
        )
        if holds
    ]
    files = sorted((c for c in found if c is not None), key=lambda c: c.path)
    # other files make other links: what those of the old ones lack is told only where the files stay
    faults = () if files else observed.faults
    return HostNetwork(host=host, files=tuple(files), reasons=(*reasons, *faults))


def unwanted(wanted: Mapping[str, str], observed: Observed) -> list[str]:
    """Files that go: ours that nothing wants any more, and those that `network_replaces` names."""
    return sorted(path for path in observed.files if path not in wanted and path != "/etc/resolv.conf")


def _change(path: str, old: str | None, new: str | None) -> FileChange | None:
    if old == new:
        return None
    action = "create" if old is None else "remove" if new is None else "change"
    diff = difflib.unified_diff((old or "").splitlines(), (new or "").splitlines(), n=0, lineterm="")
    lines = tuple(line for line in diff if not line.startswith(("---", "+++", "@@")))
    return FileChange(path=path, action=action, lines=lines)


def text(plan: HostNetwork) -> list[str]:
    """The change as lines for people."""
    lines = []
    for change in plan.files:
        lines.append(f"{change.action} {PurePosixPath(change.path)}")
        lines += [f"    {line}" for line in change.lines]
    return lines + list(plan.reasons)
