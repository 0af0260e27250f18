# SPDX-License-Identifier: Apache-2.0
"""Find Debian's security updates and the advisories in their changelogs.

The data comes from apt and from the packages, because images contain no changelogs. Debian Policy 12.7,
deb-changelog(5).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from scs_deploy.base.errors import ScsError
from scs_deploy.images import apt
from scs_deploy.images.difference import Advisory, ImageChange
from scs_deploy.images.packages import elsewhere
from scs_deploy.images.workbench import Workbench

NAMES = re.compile(r"\b(?:DSA[- ]\d+(?:-\d+)?|CVE-\d{4}-\d{4,})")
ENTRY = re.compile(r"^(\S+) \(([^)]+)\)")
MARK = "### scs "
LIMIT = 60000
"""Maximum bytes to read of a changelog. The newest entries come first."""

# A package that is not among the kept downloads, such as those of `base`, is downloaded again.
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
    """(package, new version): old version, of all upgraded Debian packages."""
    return {(p.name, p.new): p.old for c in changes for p in c.packages if p.old and p.new and not elsewhere(p.name)}


def ask(bench: Workbench, wanted: dict[tuple[str, str], str]) -> dict[tuple[str, str], Advisory]:
    """Debian's information about updates.

    :param bench: a container with the package lists
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
        # the origin is sufficient; a missing changelog must not fail the build
        texts = {}
    return {k: Advisory(security=True, names=since(texts.get(k, ""), wanted[k])) for k in security}


def parse_policy(output: str) -> dict[str, dict[str, list[str]]]:
    """Parse the output of `apt-cache policy` to package: {version: origins}."""
    policy: dict[str, dict[str, list[str]]] = {}
    package, version = "", ""
    for line in output.splitlines():
        if line[:1].strip() and line.endswith(":"):
            package = line[:-1]
            policy[package] = {}
        elif match := re.match(r"^ (?:\*\*\*|   ) (\S+) -?\d+$", line):
            version = match[1]
            policy[package][version] = []
        elif (match := re.match(r"^ {6,} *-?\d+ (\S.*)$", line)) and package and version in policy[package]:
            policy[package][version].append(match[1])
    return policy


def split(output: str) -> dict[tuple[str, str], str]:
    """Split the script's output to (package, version): changelog."""
    result = {}
    for part in output.split(MARK)[1:]:
        head, _, text = part.partition("\n")
        name, _, version = head.partition(" ")
        result[(name, version)] = text
    return result


def since(changelog: str, old: str) -> tuple[str, ...]:
    """Advisories in the changelog's entries newer than `old`, in order, without duplicates."""
    names: dict[str, None] = {}
    for line in changelog.splitlines():
        if (entry := ENTRY.match(line)) and entry[2] == _source(old):
            break
        names |= dict.fromkeys(n.replace("DSA ", "DSA-") for n in NAMES.findall(line))
    return tuple(names)


def _source(version: str) -> str:
    """The version in the changelog. A binary rebuild (`+b1`) has no entry of its own."""
    return re.sub(r"\+b\d+$", "", version)
