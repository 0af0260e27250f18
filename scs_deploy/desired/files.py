# SPDX-License-Identifier: Apache-2.0
"""The files of a container: rendered templates with the operator's overrides, programs, and certificates."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from scs_deploy.base import frozen
from scs_deploy.desired import ceph, render
from scs_deploy.desired.model import NODE_CONFIG, File
from scs_deploy.environment import overrides as config
from scs_deploy.inventory.model import Host
from scs_deploy.region.certificates import leaf_name
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Container, Repeated
from scs_deploy.spec.service import Service
from scs_deploy.spec.sources import source


def render_files(
    region: Region, service: Service, name: str, spec: Container, host: Host, scope: Mapping[str, Any]
) -> list[File]:
    """All files of a container on a host, in the order of its spec.

    :raises ScsError: a template does not render; RefusedError: a certificate or override is wrong
    """

    def build(file: str, content: str, mode: str, fmt: str = "text", sources: tuple[str, ...] = ()) -> File:
        return File(
            path=f"{NODE_CONFIG}/{name}/{file}",
            content=content,
            sha256=hashlib.sha256(content.encode()).hexdigest(),
            mode=mode,
            uid=0,
            gid=scope["gid"],
            service=service.name,
            container=name,
            name=file,
            format=fmt,
            sources=sources,
        )

    result = []
    for f in spec.config:
        fmt = config.file_format(f.name, f.format)
        origin = spec.origin if isinstance(spec, Repeated) else ""
        layers = region.overrides.layers(service.layer, service.name, name, host.name, f.name, fmt, origin)
        if f.optional and not layers:
            continue
        base = "" if f.optional else render.text(service, source(service, name, f.name), scope)
        content = config.merge(base, [(str(p), frozen.read_text(p)) for p in layers], fmt)
        mode = f.mode or ("0750" if content.startswith("#!") else "0640")
        result.append(build(f.name, content, mode, fmt, tuple(str(p) for p in layers)))
    certificates = region.certificates
    result.append(build("ca.crt", certificates.ca_pem, "0644"))
    for i, use in enumerate(spec.tls):
        leaf = certificates.leaf(leaf_name(use.certificate, host))
        stem, ca = (use.certificate, f"{use.certificate}-ca.crt") if i else ("host", "ca.crt")
        own = (use.certificate,) if region.catalog.certificates[use.certificate].group else ()
        result.append(build(f"tls/{stem}.crt", leaf.cert, "0644"))
        result.append(build(f"tls/{stem}.key", leaf.key, "0640"))
        result.append(build(f"tls/{ca}", certificates.accepted(use.accepts or own), "0644"))
    for file, (content, mode) in ceph.files(region, spec).items():
        result.append(build(file, content, mode))
    return result
