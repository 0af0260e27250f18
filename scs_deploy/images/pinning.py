# SPDX-License-Identifier: Apache-2.0
"""Resolve the Python requirements of images to pins: upstream's tested versions and the series' newest point releases.

pip resolves them in a container of the release's base image, with the interpreter and platform of the images.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.images import python
from scs_deploy.images.apt import WORK
from scs_deploy.images.builder import Builder
from scs_deploy.images.pins import Pin, Pins, normalize
from scs_deploy.images.recipe import File
from scs_deploy.images.workbench import Workbench

HEADER = """\
---
# Python packages of release {release}: the only versions and files that its images take. Written by
# `tools/constraints.py {release}`; do not edit.
"""
MARK = "### report"


def constraints(upper: str, series: Mapping[str, str]) -> str:
    """The constraints file for pip.

    :param upper: upstream's tested versions, as in https://releases.openstack.org/constraints/upper/<series>
    :param series: package: first numbers of its version; overrides upstream's version
    """
    chosen = {normalize(name): f"{name}=={numbers}.*" for name, numbers in series.items()}
    lines = [line.partition("#")[0].strip().replace("===", "==") for line in upper.splitlines()]
    kept = [line for line in lines if line and normalize(Requirement(line).name) not in chosen]
    return "\n".join([*kept, *chosen.values(), ""])


def parse(report: Mapping[str, Any]) -> Pins:
    """Create pins from pip's report (https://pip.pypa.io/en/stable/reference/installation-report/).

    :raises ScsError: a file has no hash
    """
    environment: dict[str, str] = report["environment"]
    rows = {normalize(row["metadata"]["name"]): row for row in report["install"]}
    extras: dict[str, set[str]] = {name: set(row.get("requested_extras", ())) for name, row in rows.items()}
    requires: dict[str, set[str]] = {name: set() for name in rows}
    changed = True
    while changed:
        # an extra that one package requests adds requirements to another one
        changed = False
        for name, row in rows.items():
            for needed in _requirements(row, environment, extras[name]):
                other = normalize(needed.name)
                requires[name].add(other)
                if other in extras and not needed.extras <= extras[other]:
                    extras[other] |= needed.extras
                    changed = True
    return Pins(
        python=environment["python_version"],
        packages={name: _pin(row, requires[name] - {name}) for name, row in sorted(rows.items())},
    )


def _requirements(row: Mapping[str, Any], environment: dict[str, str], extras: set[str]) -> Iterable[Requirement]:
    for text in row["metadata"].get("requires_dist", ()):
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**environment, "extra": e}) for e in ("", *extras)):
            yield requirement


def _pin(row: Mapping[str, Any], requires: set[str]) -> Pin:
    about, file = row["metadata"], row["download_info"]
    digest = file.get("archive_info", {}).get("hashes", {}).get("sha256")
    if not digest:
        raise ScsError(f"{about['name']} {about['version']}: {file['url']}: pip reports no sha256")
    wheel = str(file["url"]).endswith(".whl")
    return Pin(version=about["version"], sha256=(digest,), wheel=wheel, requires=tuple(sorted(requires)))


def check_series(pins: Pins, series: Mapping[str, str]) -> None:
    """Check that the packages of the release itself are final releases of its series.

    What a specifier says of pre-releases by default depends on the version of `packaging`: since 26, `==33.*` contains
    33.0.0.0rc1.

    :raises ScsError: a package is of another series, or a pre-release
    """
    wrong = [
        f"{name} {pin.version}"
        for name, numbers in sorted(series.items())
        if (pin := pins.packages.get(normalize(name)))
        and not SpecifierSet(f"=={numbers}.*").contains(pin.version, prereleases=False)
    ]
    if wrong:
        wanted = ", ".join(f"{name} {numbers}" for name, numbers in sorted(series.items()))
        raise ScsError(f"no final release of its series: {', '.join(wrong)} (series: {wanted})", "tools/constraints.py")


def text(pins: Pins, release: str) -> str:
    """The file's content. The same pins always yield the same bytes."""
    data = pins.model_dump(mode="json")
    data["packages"] = {n: p.model_dump(mode="json", exclude_defaults=True) for n, p in sorted(pins.packages.items())}
    return HEADER.format(release=release) + yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=120)


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


def resolve(builder: Builder, upper: str) -> Pins:
    """Resolve the requirements of all recipes of the release with pip.

    :param upper: see `constraints`
    :raises RefusedError: the release has no Python packages, or its base image is not on this machine
    :raises ScsError: pip finds no compatible versions, or no index
    """
    release = builder.release
    if release.python is None:
        raise RefusedError(f"releases/{release.name}.yml: has no `python`")
    base = builder.root()
    if base is None:
        raise RefusedError(
            f"this machine has no base image of release {release.name}", "scs images build base --no-push"
        )
    builder.prepare(base)
    wanted = sorted({name for recipe in builder.recipes.values() for name in recipe.python})
    with Workbench(builder.engine, builder.tag(base), base, builder.volume, builder.store.log("constraints")) as bench:
        given, report = f"{WORK}/private/constraints.txt", f"{WORK}/private/report.json"
        bench.write((File(path=given, content=constraints(upper, release.python.series)),))
        options = f"--quiet --dry-run --ignore-installed --prefer-binary --constraint {given} --report {report}"
        command = f"{python.PIP} install {options} {' '.join(wanted)}"
        output = bench.shell(
            f"{python.CREATE}{command}\necho '{MARK}'; cat {report}; rm {report}",
            what="resolve Python packages",
            environment=python.environment(bool(builder.ca_bundle)),
        )
    found = parse(json.loads(output.partition(f"{MARK}\n")[2]))
    check_series(found, release.python.series)
    return found
