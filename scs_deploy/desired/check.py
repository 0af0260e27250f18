# SPDX-License-Identifier: Apache-2.0
"""Checks everything that describes a region, part by part. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.desired import digest
from scs_deploy.environment import announcements, sharing
from scs_deploy.images.recipe import load_recipes
from scs_deploy.region import options, resolvers
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.hidden import readable
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.secrets import clouds, pki


class Finding(Model):
    """The summary of a part of the description, or its error."""

    part: str
    summary: str = ""
    error: str = ""
    hint: str = ""
    warning: str = ""


def check(name: str | None) -> list[Finding]:
    """All findings of a region; omits parts that depend on an invalid one.

    :param name: of the environment; default: the selected one
    """
    try:
        region = Region.load(name, reading=True)
    except ScsError as error:
        return [_wrong("description", error)]
    hidden = sharing.secrets_are_hidden(region.environment)
    region = readable(region)
    settings = region.environment.settings
    found = [
        Finding(part="environment", summary=f"region {settings.region}, release {settings.release}"),
        Finding(part="catalog", summary=f"{len(region.catalog.services)} services"),
        Finding(part="inventory", summary=f"{len(region.inventory.hosts)} hosts"),
        *(Finding(part="own", error=e.message, hint=e.hint) for e in region.left_out),
    ]
    parts: tuple[tuple[str, Callable[[Region], str]], ...] = (
        ("images", lambda c: f"{len(load_recipes(c.release))} recipes"),
        ("overrides", lambda c: f"{len(c.overrides.files)} files"),
        ("release lock", _lock),
        ("secrets", _not_checked if hidden else lambda c: f"{len(c.secrets)} secrets, none missing"),
        ("certificates", _not_checked if hidden else _certificates),
        ("name servers", _name_servers),
        ("announcements", _announcements),
    )
    for part, look in parts:
        try:
            found.append(Finding(part=part, summary=look(region)))
        except ScsError as error:
            found.append(_wrong(part, error))
    if not {f.part for f in found if f.error} & {"overrides", "release lock"}:
        found += _options(region)
    # a region without a lock has no images, which containers and so files depend on
    if region.environment.lock_file.exists() and not any(f.error for f in found):
        found.append(_files(region))
    return found


def _files(region: Region) -> Finding:
    """Render every file of every host: templates, overrides and secrets together."""
    try:
        hosts = digest.render(region, Selection())
    except ScsError as error:
        return _wrong("files", error)
    return Finding(part="files", summary=f"{sum(len(h.files) for h in hosts)} rendered for {len(hosts)} host(s)")


def _not_checked(region: Region) -> str:
    owner = sharing.user_name(region.environment.secrets_file.stat().st_uid)
    return f"not checked: only {owner} may read them"


def _options(region: Region) -> list[Finding]:
    """Options in overrides that their services do not read, or will not read for long."""
    try:
        problems = options.problems(region)
    except ScsError as error:
        return [_wrong("options", error)]
    refused = options.refused(region, problems)
    return [
        Finding(part="options", error=f"{p.where}: {p.what}", hint=p.hint)
        if p in refused
        else Finding(part="options", warning=str(p))
        for p in problems
    ]


def _wrong(part: str, error: ScsError) -> Finding:
    return Finding(part=part, error=error.message, hint=error.hint)


def _lock(region: Region) -> str:
    if not region.environment.lock_file.exists():
        # a new region has none yet; a plan requires it
        return "none yet: scs images build"
    return f"{len(region.lock.images)} images"


def _name_servers(region: Region) -> str:
    hosts = region.hosts_of("neutron") if "neutron" in region.catalog.services else ()
    servers = dict.fromkeys(s for host in hosts for s in resolvers.for_guests(region, host))
    return f"{len(servers)} for guests"


def _announcements(region: Region) -> str:
    return f"{len(announcements.load(region.environment.path).announcements)} for the public status page"


def _certificates(region: Region) -> str:
    wanted = wanted_leaves(region.environment, region.catalog, region.inventory)
    stale = pki.stale(region.environment, wanted)
    if stale:
        raise RefusedError(
            f"{region.environment.certificates_file}: missing, outdated or about to expire: {', '.join(stale)}",
            "scs secrets init",
        )
    if gone := sorted(region.certificates.leaves.keys() - wanted.keys()):
        raise RefusedError(
            f"{region.environment.certificates_file}: nothing uses {', '.join(gone)}",
            "scs secrets init removes them, then scs apply",
        )
    if not clouds.clouds_file(region.environment).is_file():
        raise RefusedError(f"{clouds.clouds_file(region.environment)}: no such file", "scs secrets init")
    return f"{len(wanted)} certificates"
