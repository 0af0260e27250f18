# SPDX-License-Identifier: Apache-2.0
"""Resolves spec, release and environment to the desired state of each host, with all defaults explicit."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from scs_deploy.desired.container import define_container
from scs_deploy.desired.files import render_files
from scs_deploy.desired.jobs import define_job
from scs_deploy.desired.model import DesiredHost, File, RunContainer, RunJob
from scs_deploy.desired.scope import template_scope
from scs_deploy.region.region import Region


def resolve(region: Region, host_name: str, services: Collection[str] | None = None) -> DesiredHost:
    """The desired state of one host.

    :param services: only these; None: all. The others need no image, secret or override.
    :raises ScsError: a template does not render; RefusedError: secret, certificate, image lock or override is wrong
    """
    scopes = template_scope(region)
    host = region.inventory.hosts[host_name]
    containers: dict[str, RunContainer] = {}
    files: dict[str, File] = {}
    jobs: dict[str, RunJob] = {}
    for service in region.catalog.services.values():
        if services is not None and service.name not in services:
            continue
        scope: dict[str, Any] | None = None
        for name, spec in service.containers.items():
            if not host.runs(spec.hosts or service.hosts):
                continue
            scope = scope or scopes.of(service, host)
            own = scope | scopes.of_container(service, name, host)
            mine = render_files(region, service, name, spec, host, own)
            files.update({f.path: f for f in mine})
            containers[name] = define_container(region, service, name, spec, mine, own)
        for name, job in service.jobs.items():
            if job.container in containers and scope is not None:
                run = containers[job.container]
                jobs[f"{service.name}.{name}"] = define_job(
                    region, service, name, run, {**scope, "container": job.container}
                )
    return DesiredHost(host=host_name, containers=containers, files=files, jobs=jobs)
