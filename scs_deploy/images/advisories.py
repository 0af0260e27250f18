# SPDX-License-Identifier: Apache-2.0
"""Which updates Debian published for security, and which advisories their changelogs name.

From what apt knows and from the package itself: images carry no changelogs. Debian Policy 12.7, deb-changelog(5).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from scs_deploy.base.errors import ScsError
from scs_deploy.images import apt
from scs_deploy.images.difference import Advisory, ImageChange
from scs_deploy.images.packages import PYPI
from scs_deploy.images.workbench import Workbench

NAMES = re.compile(r"\b(?:DSA[- ]\d+(?:-\d+)?|CVE-\d{4}-\d{4,})")
ENTRY = re.compile(r"^(\S+) \(([^)]+)\)")
MARK = "### scs "
LIMIT = 60000
"""Bytes of a changelog that are read: the newest entries come first."""

# A package that is not among the kept downloads (those of `base`) is fetched once more.
CHANGELOG = f"""\
file=$(ls {apt.WORK}/archives/$1_$2_*.deb 2>/dev/null | head -n 1)
if [ -z "$file" ]; then
  cd /tmp && apt-get download "$1=$3" > /dev/null 2>&1 || true
  file=$(ls /tmp/$1_$2_*.deb 2>/dev/null | head -n 1)
fi
[ -z "$file" ] || dpkg-deb --fsys-tarfile "$file" \\
  | tar --extract --to-stdout --wildcards './usr/share/doc/*/changelog.Debian*.gz' 2>/dev/null \\
  | gzip --decompress --stdout 2>/dev/null | head -c {LIMIT} || true
"""


def updates(changes: Iterable[ImageChange]) -> dict[tuple[str, str], str]:
    """(package, new version): old version, of everything of Debian that was raised."""
    return {
        (p.name, p.new): p.old for c in changes for p in c.packages if p.old and p.new and not p.name.startswith(PYPI)
    }


def ask(bench: Workbench, wanted: dict[tuple[str, str], str]) -> dict[tuple[str, str], Advisory]:
    """What Debian says of updates.

    :param bench: has the package lists
    :param wanted: (package, new version): old version
    """
    if not wanted:
        return {}
    names = sorted({name for name, _ in wanted})
    policy = parse_policy(bench.shell(shlex.join(["apt-cache", "policy", *names]), what="origin of updates"))
    security = [k for k in wanted if any("security" in source for source in policy.get(k[0], {}).get(k[1], ()))]
    script = f"changelog() {{\n{CHANGELOG}}}\n"
    for name, version in security:
        file = version.replace(":", "%3a")
        script += f"echo '{MARK}{name} {version}'; changelog {shlex.join([name, file, version])}\n"
    try:
        texts = split(bench.shell(script, what="changelogs")) if security else {}
    except ScsError:
        # the origin says enough; a missing changelog stops no build
        texts = {}
    return {k: Advisory(security=True, names=since(texts.get(k, ""), wanted[k])) for k in security}


def parse_policy(output: str) -> dict[str, dict[str, list[str]]]:
    """package: {version: origins} of `apt-cache policy`."""
    found: dict[str, dict[str, list[str]]] = {}
    package, version = "", ""
    for line in output.splitlines():
        if line[:1].strip() and line.endswith(":"):
            package = line[:-1]
            found[package] = {}
        elif match := re.match(r"^ (?:\*\*\*|   ) (\S+) -?\d+$", line):
            version = match[1]
            found[package][version] = []
        elif (match := re.match(r"^ {6,} *-?\d+ (\S.*)$", line)) and package and version in found[package]:
            found[package][version].append(match[1])
    return found


def split(output: str) -> dict[tuple[str, str], str]:
    """(package, version): changelog, of what the script prints."""
    result = {}
    for part in output.split(MARK)[1:]:
        head, _, text = part.partition("\n")
        name, _, version = head.partition(" ")
        result[(name, version)] = text
    return result


def since(changelog: str, old: str) -> tuple[str, ...]:
    """Advisories that a changelog names in its entries newer than `old`, as they stand there, each once."""
    found: dict[str, None] = {}
    for line in changelog.splitlines():
        if (entry := ENTRY.match(line)) and entry[2] == _source(old):
            break
        found |= dict.fromkeys(n.replace("DSA ", "DSA-") for n in NAMES.findall(line))
    return tuple(found)


def _source(version: str) -> str:
    """A rebuild without changes (`+b1`) has no entry of its own."""
    return re.sub(r"\+b\d+$", "", version)
