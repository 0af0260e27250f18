# SPDX-License-Identifier: Apache-2.0
"""Of the service spec: what follows from the rest of it, so that no spec says it."""

from __future__ import annotations

from scs_deploy.spec.container import CACHE_DIRECTORY, CACHE_FILES, POLICY_FILE, ConfigFile, Container, Health
from scs_deploy.spec.job import Job
from scs_deploy.spec.service import Service
from scs_deploy.spec.setting import Setting

WSGI_PROCESSES, WSGI_PROCESSES_SAID = 2, "processes of each web application on a host"
"""Default and meaning of `<service>_workers`, which a service with `wsgi` containers has without declaring it."""

WORKERS = Setting(default=WSGI_PROCESSES, type="int", min=1, max=256)

WSGI_STOP_TIMEOUT = 60
"""Seconds in which uWSGI finishes the requests that it has taken: more than `worker-reload-mercy` in uwsgi.ini."""

STATUS_CHECK = (
    "found=$({service}-status upgrade check); code=$?; "
    'if [ $code -gt 1 ] || [ -z "$found" ]; then echo "$found" | grep -B 1 -A 6 Failure; exit 1; fi'
)
"""Exits 0 when all is well (code 0) or there are warnings (1). A command that breaks exits 1 too, but prints no table.

Source: https://docs.openstack.org/oslo.upgradecheck/latest/user/usage.html
"""


def complete(service: Service) -> Service:
    """The service with all that `wsgi`, `cache` and `policy` of its containers and `status` of its jobs mean."""
    containers = {
        n: _policy(service, _cache(_wsgi(service, n, c) if c.wsgi else c)) for n, c in service.containers.items()
    }
    endpoints = {
        n: e.model_copy(update={"loopback": True})
        if e.protocol == "http" and service.containers[service.listens(e)].wsgi else e
        for n, e in service.endpoints.items()
    }  # fmt: skip
    workers = {f"{service.name}_workers": WORKERS} if any(c.wsgi for c in containers.values()) else {}
    return service.model_copy(
        update={
            "containers": containers,
            "endpoints": endpoints,
            "jobs": {n: _status(service, j) if j.preflight == "status" else j for n, j in service.jobs.items()},
            "settings": workers | service.settings,
        }
    )


def _policy(service: Service, container: Container) -> Container:
    if not container.policy:
        return container
    own = (service.directory / f"{POLICY_FILE.name}.j2").is_file()
    file = POLICY_FILE.model_copy(update={"optional": not own})
    return container.model_copy(update={"config": (*container.config, file)})


def _cache(container: Container) -> Container:
    if not container.cache:
        return container
    return container.model_copy(
        update={
            "config": (*container.config, *CACHE_FILES),
            "environment": {"PYTHONPATH": CACHE_DIRECTORY, **container.environment},
        }
    )


def _wsgi(service: Service, name: str, container: Container) -> Container:
    """uWSGI on the port of the container's endpoint, checked as HAProxy checks it."""
    endpoint = next(e for e in service.endpoints.values() if service.listens(e) == name)
    port = service.ports(name)[0]
    return container.model_copy(
        update={
            "command": container.command or ("uwsgi_python3", "--ini", f"{service.config_dir(name)}/uwsgi.ini"),
            "config": (*container.config, ConfigFile(name="uwsgi.ini")),
            # uWSGI's workers end at once when they get a signal themselves: dumb-init tells the master only
            "environment": {"DUMB_INIT_SETSID": "0", **container.environment},
            "stop_timeout": container.stop_timeout or WSGI_STOP_TIMEOUT,
            "health": container.health
            or (Health(http=endpoint.health_path) if endpoint.health_path else Health(tcp=port)),
        }
    )


def _status(service: Service, job: Job) -> Job:
    return job.model_copy(update={"command": ("sh", "-c", STATUS_CHECK.format(service=service.name))})
