# SPDX-License-Identifier: Apache-2.0
"""Compare the wanted files with the state of a host. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import PurePosixPath

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.spec.container import Impact


class Observed(Model):
    """The state of a host, as reported by the module."""

    files: dict[str, str] = Field(description="scs's own files, the files to replace, and resolv.conf; path: text")
    active: bool = Field(description="whether systemd-networkd is running")
    enabled: bool = Field(description="whether systemd-networkd starts at boot")
    resolved: bool = Field(description="whether systemd-resolved uses the links' name servers")
    missing: tuple[str, ...] = Field(default=(), description="programs that the renderer needs and the host lacks")
    trying: bool = Field(
        default=False, description="whether a change is waiting for confirmation or is being rolled back"
    )
    faults: tuple[str, ...] = Field(default=(), description="differences between the links and the files")


class FileChange(Model):
    """A file to write or remove."""

    path: str
    action: str = Field(description="create, change or remove")
    lines: tuple[str, ...] = Field(description="changed lines with the prefix - or +")


class HostNetwork(Model):
    """The changes to a host's network."""

    host: str
    files: tuple[FileChange, ...] = ()
    reasons: tuple[str, ...] = Field(default=(), description="reasons in addition to the files")
    impact: Impact = Impact.NETWORK

    @property
    def empty(self) -> bool:
        """Whether nothing changes."""
        return not self.files and not self.reasons


def compare(host: str, wanted: Mapping[str, str], observed: Observed) -> HostNetwork:
    """The changes to a host, with files sorted by path.

    :param wanted: the result of `render.files`
    """
    changes = [_change(path, observed.files.get(path), text) for path, text in wanted.items()]
    changes += [_change(path, observed.files[path], None) for path in unwanted(wanted, observed)]
    reasons = [
        text
        for text, holds in (
            ("systemd-networkd is not running", not observed.active),
            ("systemd-networkd does not start at boot", not observed.enabled),
        )
        if holds
    ]
    files = sorted((c for c in changes if c is not None), key=lambda c: c.path)
    # changed files change the links: faults of the old links matter only if no file changes
    faults = () if files else observed.faults
    return HostNetwork(host=host, files=tuple(files), reasons=(*reasons, *faults))


def unwanted(wanted: Mapping[str, str], observed: Observed) -> list[str]:
    """Files to remove: scs's own files that are no longer wanted, and those that `network_replaces` names."""
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
