# SPDX-License-Identifier: Apache-2.0
"""The state of one host, as the module `observe` reports it."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from scs_deploy.base.model import Model


class ObservedContainer(BaseModel):
    """The compared fields of Docker's inspect, under Docker's names."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    managed: bool
    image_id: str
    image: str | None = None
    Cmd: list[str] | None = None
    User: str | None = None
    Env: list[str] = []
    Labels: dict[str, str] = {}
    StopSignal: str | None = None
    StopTimeout: int | None = None
    Healthcheck: dict[str, Any] | None = None
    HostConfig: dict[str, Any] = {}
    status: str
    exit_code: int | None = None
    started: str | None = None
    restarts: int = 0
    health: str | None = None
    job: str | None = None

    @property
    def started_at(self) -> float:
        """Seconds since the epoch; 0 if it never started."""
        return timestamp(self.started)


class BackendServer(Model):
    """A server of a load balancer's backend."""

    backend: str
    server: str

    def __str__(self) -> str:
        return f"{self.backend}/{self.server}"


class ForcedServer(BackendServer):
    """A server that an operator or a run took out of use."""

    state: str = Field(description="drain or maint")


class FoundDisk(BaseModel):
    """What is on a disk that is to be used."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    missing: bool = Field(default=False, description="there is no such device")
    unreadable: str = Field(default="", description="why it cannot be read")
    signatures: list[str] = Field(default=[], description="kinds of data that util-linux knows")
    cluster: str = Field(default="", description="Ceph cluster of the OSD that it is")
    osd: str = Field(default="", description="number of that OSD")
    other: bool = Field(default=False, description="its beginning is not zero, for no known reason")
    in_use: bool = Field(default=False, description="the host uses it")

    def problem(self, own: Collection[str]) -> str:
        """Why it may not be taken; empty: it is blank, or an OSD of this region.

        :param own: ids of the region's clusters
        """
        if self.missing:
            return "does not exist"
        if self.unreadable:
            return f"cannot be read: {self.unreadable}"
        if self.in_use:
            return "is in use: mounted, or part of LVM or a RAID"
        if self.cluster in own:
            return ""
        words = [_SIGNATURES.get(s, s) for s in self.signatures if s != _BLUESTORE]
        if self.cluster or _BLUESTORE in self.signatures:
            words.append(f"a BlueStore of osd.{self.osd or '?'} of cluster {self.cluster or 'unknown'}")
        if self.other:
            words.append("data of an unknown kind")
        return f"holds {', '.join(dict.fromkeys(words))}" if words else ""


_BLUESTORE = "ceph_bluestore"
_SIGNATURES = {
    "gpt": "a partition table (gpt)", "PMBR": "a partition table (gpt)", "dos": "a partition table (dos)",
    "LVM2_member": "LVM", "linux_raid_member": "a member of a RAID", "crypto_LUKS": "LUKS", "swap": "swap space",
}  # fmt: skip
"""The names of blkid(8) for what a disk may hold, as the program of the OSD says them."""


class Observed(BaseModel):
    """The state of one host."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    files: dict[str, tuple[str, str, int, int, float]] = Field(description="path: sha256, mode, uid, gid, mtime")
    texts: dict[str, str] = Field(default={}, description="path: text of files that differ")
    containers: dict[str, ObservedContainer]
    images: dict[str, str] = Field(description="repository@digest: image id")
    volumes: list[str] = []
    jobs: dict[str, tuple[str, float]] = Field(default={}, description="job: record (JSON), time")
    reloads: dict[str, float] = Field(default={}, description="container: time of its last reload")
    stopped: list[str] = []
    drained: bool = False
    forced: list[ForcedServer] = Field(default=[], description="out of use in this host's HAProxy")
    down: list[BackendServer] = Field(default=[], description="servers that are down according to this host's HAProxy")
    used: dict[str, str] = Field(default={}, description="backend with one server in use: that server")
    addresses: list[str] = Field(default=[], description="addresses of the region's API that this host has")
    listening: list[tuple[str, int]] = []
    firewall: list[str] | None = Field(
        default=None, description="what the host's packet filter lets in, a line each; None: it has none of scs"
    )
    disks: dict[str, FoundDisk] = Field(default={}, description="path: what is on a disk that has no container's data")
    free: int = Field(description="bytes free where Docker keeps images")

    def job_hash(self, name: str) -> str:
        """Hash of the job's last success; empty without one."""
        return str(self._record(name).get("hash", ""))

    def superseded(self, name: str, job: str) -> bool:
        """Whether the job succeeded with this hash, and later with another one for the first time."""
        known = self._record(name).get("succeeded")
        return isinstance(known, list) and job in known[:-1]

    def _record(self, name: str) -> dict[str, Any]:
        try:
            record = json.loads(self.jobs[name][0])
        except (KeyError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}


def timestamp(text: str | None) -> float:
    """Convert Docker's RFC 3339 time, truncated to microseconds, to seconds since the epoch; 0 if empty."""
    if not text or text.startswith("0001"):
        return 0.0
    head, _, fraction = text.rstrip("Z").partition(".")
    base = datetime.fromisoformat(head + "+00:00").timestamp()
    return base + float(f"0.{fraction[:6] or 0}")
