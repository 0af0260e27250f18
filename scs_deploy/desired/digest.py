# SPDX-License-Identifier: Apache-2.0
"""The desired state of every host as hashes, rendered on the manager without contacting a host.

Proves that inventory, settings, secrets, lock and templates fit together. Comparing two digests shows what a change of
any of them affects. Contents stay in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.desired import resolve
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection


class RenderedHost(Model):
    """The desired state of one host, as hashes."""

    host: str
    containers: dict[str, str] = Field(description="container: hash of its definition")
    files: dict[str, str] = Field(description="path: SHA-256 of the content")
    jobs: dict[str, str] = Field(description="job: hash of image and command")
    size: int = Field(description="bytes of all files")
    hash: str = Field(description="of all of the above")


def render(region: Region, selection: Selection, rendered: Callable[[], None] = lambda: None) -> list[RenderedHost]:
    """Render all selected hosts, sorted by name.

    :param rendered: called after each host
    :raises RefusedError: unknown host or service; a secret, certificate, image lock or override is wrong
    :raises ScsError: a template does not render
    """
    chosen = region.catalog.select(selection.services) if selection.services else None
    hosts = []
    for name in sorted(region.select_hosts(selection.hosts)):
        desired = resolve.resolve(region, name, chosen)
        containers = {c.name: str(c.body["Labels"]["scs.spec"]) for c in desired.containers.values()}
        files = {f.path: f.sha256 for f in desired.files.values()}
        jobs = {j.name: j.hash for j in desired.jobs.values()}
        whole = hashlib.sha256(repr((sorted(containers.items()), sorted(files.items()), sorted(jobs.items()))).encode())
        hosts.append(
            RenderedHost(
                host=name,
                containers=containers,
                files=files,
                jobs=jobs,
                size=sum(len(f.content.encode()) for f in desired.files.values()),
                hash=f"sha256:{whole.hexdigest()}",
            )
        )
        rendered()
    return hosts
