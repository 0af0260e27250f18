# SPDX-License-Identifier: Apache-2.0
"""Of the service spec: what a service needs of the region's Ceph, where there is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from scs_deploy.base.model import Written

CEPH = "ceph"
"""The service that runs Ceph's daemons. A service that declares pools or clients, or uses one, requires it."""

FOLDER = "/etc/ceph"
"""Inside a container with `ceph`: where its programs look for ceph.conf and keyrings."""

_POOL = re.compile(r"\bpool[= ]([^\s,]+)")
_LIMITS = re.compile(r"\b(?:pool|tag|object_prefix)[= ]")
_EVERYTHING = re.compile(r"^allow \*|^profile (?:admin|bootstrap-\S+|osd|mgr|mon)\b")


class Pool(Written):
    """A pool of Ceph that a service keeps its data in. How it is kept is in the environment's storage.yml."""

    application: Literal["rbd", "cephfs", "rgw"] = Field(description="what Ceph calls its use")
    description: str = Field(default="", description="what is in it, in a few words")
    bulk: bool = Field(
        default=False, description="holds most of the cluster's data: it has many placement groups from the start"
    )
    data_only: bool = Field(
        default=False,
        description="holds no keys and values, which are in another pool: storage.yml may have it erasure coded",
    )


class CephClient(Written):
    """A user of Ceph with a key of its own, the secret `ceph_<name>_key`, and what it may do."""

    description: str = Field(default="", description="who it is, in a few words")
    mon: str = Field(description="capabilities on monitors, e.g. `profile rbd`")
    osd: str = Field(
        default="", description="on OSDs; each grant says on which declared pool, e.g. `profile rbd pool=volumes`"
    )
    mgr: str = Field(default="", description="on managers, e.g. `profile rbd pool=volumes`")
    mds: str = Field(default="", description="on metadata servers")

    @property
    def capabilities(self) -> dict[str, str]:
        """Kind of daemon: capabilities, without those that it does not have."""
        return {k: v for k in ("mon", "mgr", "osd", "mds") if (v := getattr(self, k))}

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools that its capabilities name, sorted."""
        return tuple(sorted({p for text in self.capabilities.values() for p in _POOL.findall(text)}))

    @model_validator(mode="after")
    def _least(self) -> CephClient:
        for daemon, text in self.capabilities.items():
            for grant in _grants(text):
                if _EVERYTHING.search(grant):
                    raise ValueError(f"{daemon}: '{grant}' gives the rights of Ceph's operator or of its daemons")
                if daemon == "osd" and not _LIMITS.search(grant):
                    raise ValueError(f"osd: '{grant}' reaches every pool; name one: `{grant} pool=...`")
        return self


def key_of(client: str) -> str:
    """Name of the secret with a client's key."""
    return f"ceph_{client}_key"


def _grants(text: str) -> Iterator[str]:
    return (" ".join(part.split()) for part in re.split(r"[,;]", text) if part.strip())
