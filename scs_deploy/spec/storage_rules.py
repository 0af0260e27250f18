# SPDX-License-Identifier: Apache-2.0
"""The rules for pools and clients of Ceph in service specs: names, least privilege, and what must be required."""

from __future__ import annotations

import re
from collections.abc import Mapping

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import where
from scs_deploy.spec.service import Service
from scs_deploy.spec.storage import CEPH, FOLDER

_RESERVED = frozenset({"admin", "bootstrap_osd", "crash", "mds", "mgr", "mon", "osd"})
"""Clients of Ceph's own daemons and of its operator."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_POOL_NAME = re.compile(r"\.?[a-z][a-z0-9_.-]{0,62}")


def check(service: Service, found: Mapping[str, Service]) -> None:
    """Check what a service says of Ceph.

    :param found: every service
    :raises RefusedError: a wrong name, a pool or client that is not declared, or `ceph` is not required
    """
    if not (service.pools or service.ceph_clients or any(c.ceph for c in service.containers.values())):
        return
    required = _required(service, found)
    if service.name != CEPH and CEPH not in required:
        raise _wrong(service, ("requires",), "lacks 'ceph', whose pools or clients the service uses", "add ceph")
    for name in service.pools:
        if not _POOL_NAME.fullmatch(name):
            raise _wrong(service, ("pools", name), f"'{name}' cannot be the name of a pool", "use [a-z0-9_.-]")
    pools = {p for s in (*found.values(), service) for p in s.pools}
    for name, client in service.ceph_clients.items():
        at = ("ceph_clients", name)
        if not _NAME.fullmatch(name) or name in _RESERVED:
            hint = f"use [a-z0-9_], and none of {', '.join(sorted(_RESERVED))}"
            raise _wrong(service, at, f"'{name}' cannot be the name of a client", hint)
        if unknown := [p for p in client.pools if p not in pools]:
            hint = f"there are: {', '.join(sorted(pools)) or 'none'}"
            raise _wrong(service, at, f"no service declares the pool '{unknown[0]}'", hint)
    clients = {c for s in (service, *(found[r] for r in required)) for c in s.ceph_clients}
    for name, container in service.containers.items():
        place = ("containers", name, "ceph")
        if unknown := [c for c in container.ceph if c not in clients]:
            hint = f"there are, in this service and those that it requires: {', '.join(sorted(clients)) or 'none'}"
            raise _wrong(service, place, f"no Ceph client '{unknown[0]}'", hint)
        if container.ceph and service.config_dir(name) == FOLDER:
            raise _wrong(service, place, f"its files are in {FOLDER} too", "give it another config_dir")


def _required(service: Service, found: Mapping[str, Service]) -> set[str]:
    """All services that it requires, directly or through others, as far as they exist."""
    result: set[str] = set()
    todo = list(service.requires)
    while todo:
        name = todo.pop()
        if name in found and name not in result:
            result.add(name)
            todo.extend(found[name].requires)
    return result


def _wrong(service: Service, place: tuple[str, ...], what: str, hint: str) -> RefusedError:
    return RefusedError(f"{where(service.directory / 'service.yml', place)}: {what}", hint)
