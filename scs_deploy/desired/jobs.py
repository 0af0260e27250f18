# SPDX-License-Identifier: Apache-2.0
"""Defines a job as a one-shot container."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from scs_deploy.desired import render
from scs_deploy.desired.model import RunContainer, RunJob
from scs_deploy.region.region import Region
from scs_deploy.spec.service import Service


def define_job(region: Region, service: Service, name: str, run: RunContainer, scope: Mapping[str, Any]) -> RunJob:
    """The one-shot container of a job.

    :param run: the container whose image, mounts and user the job uses
    :raises ScsError: its command does not render
    """
    job = service.jobs[name]
    at = f"{service.directory / 'service.yml'}: jobs.{name}.command"
    argv = [render.leaf(w, scope, at) for w in job.command]
    host_config = {k: v for k, v in run.body["HostConfig"].items() if k not in ("RestartPolicy", "CpuShares")}
    body = {k: v for k, v in run.body.items() if k not in ("Healthcheck", "Labels")}
    body |= {
        "Cmd": argv,
        "HostConfig": host_config,
        "Labels": {"scs.job": f"{service.name}.{name}", "scs.service": service.name},
    }
    if job.user:
        body["User"] = job.user
    due = [region.release.openstack] if job.restart else [run.image.rpartition("@")[2], argv, body["User"]]
    digest = hashlib.sha256(json.dumps(due).encode()).hexdigest()
    return RunJob(
        name=f"{service.name}.{name}",
        service=service.name,
        phase=job.phase,
        each=job.each,
        once=job.once,
        container=job.container,
        image=run.image,
        body=body,
        volumes=run.volumes,
        directories=run.directories,
        schema_change=job.schema_change is not None,
        hash=digest,
        timeout=job.timeout,
    )
