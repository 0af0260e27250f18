# SPDX-License-Identifier: Apache-2.0
"""Debian's package tools in build containers: settings, commands and parsers of their output."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterable

WORK = "/mnt"
"""Mount point of the volume with lists, packages and build tools: an empty folder on every Debian system."""

ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_CONFIG": f"{WORK}/apt.conf",
    "LC_ALL": "C.UTF-8",
    "PATH": f"{WORK}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}

# The builder serializes downloads and writes the lists once in advance. apt's locks on the shared folders would only
# make concurrent builds fail. Each container has its own dpkg lock.
SETTINGS = f"""\
Dir::State::lists "{WORK}/lists";
Dir::Cache::archives "{WORK}/archives";
Debug::NoLocking "true";
APT::Sandbox::User "root";
APT::Keep-Downloaded-Packages "true";
Acquire::Retries "3";
Dpkg::Use-Pty "false";
DPkg::Path "{WORK}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
quiet "1";
"""

# An option, because images disable these caches. Parsing the lists is half of apt's work in a build.
GET = ("apt-get", "-o", f"Dir::Cache::srcpkgcache={WORK}/srcpkgcache.bin")

INHERITED = (
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
)
"""The manager's settings that builds inherit: access to mirrors, and whether the mirrors are frozen."""

# Compiling each package in its own process takes most of the installation time. One pass at the end compiles all.
PY3COMPILE = f"""\
#!/bin/sh
for word; do case $word in /*) echo "$word" >>{WORK}/private/$HOSTNAME;; esac; done
"""

COMPILE = f"""\
python=/usr/lib/python3/dist-packages
touch {WORK}/private/$HOSTNAME
[ -e /usr/bin/python3 ] && python3 -m compileall -qq -j2 -x '/tests?/' \\
  $python $(sort -u {WORK}/private/$HOSTNAME) >/dev/null 2>&1 || true
rm -f {WORK}/private/$HOSTNAME
"""

# Single writes need no durability before the commit. The library is in the volume, not in the image.
FASTER = f"""\
[ -e {WORK}/lib/libeatmydata.so ] || {{
  cd {WORK}/archives && apt-get download libeatmydata1 && dpkg-deb -x libeatmydata1_*.deb {WORK}/lib/x
  cp {WORK}/lib/x/usr/lib/*/libeatmydata.so {WORK}/lib/ && rm -rf {WORK}/lib/x
}}
"""
PRELOAD = f"export LD_PRELOAD={WORK}/lib/libeatmydata.so\n"

FINGERPRINT = f"cat {WORK}/lists/*Release | sha256sum | cut -d' ' -f1"

CLEAN = """\
rm -rf /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/log/bootstrap.log /var/cache/debconf/*-old \
  /var/lib/dpkg/*-old /var/cache/ldconfig/aux-cache /var/lib/apt/lists/* /var/cache/apt/* /tmp/* /var/tmp/* /root/.cache
"""

DPKG_QUERY = (
    "dpkg-query --show --showformat "
    r"'${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n'"
)


# Machine-readable copyright files only: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
LICENSES = "grep -s -o '^License: .*' /usr/share/doc/*/copyright || true"


def inherited_settings() -> str:
    """The manager's apt settings of INHERITED, in apt.conf's format; empty if the manager has no apt."""
    try:
        output = subprocess.run(
            ["apt-config", "dump", *INHERITED], check=True, capture_output=True, text=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return "".join(f"{line}\n" for line in output.splitlines() if not line.endswith('"";'))


def install(packages: Iterable[str], *options: str) -> str:
    """The command line that installs `packages`."""
    return shlex.join([*GET, "install", "--yes", "--no-install-recommends", *options, "--", *packages])


def upgrade() -> str:
    """The command line that lists installed packages with updates."""
    return shlex.join([*GET, "dist-upgrade", "--simulate"])


def parse_simulation(output: str) -> dict[str, str]:
    """package: version of all packages that `apt-get --simulate` would install or upgrade."""
    rows = re.findall(r"^Inst (\S+) (?:\[[^]]*\] )?\((\S+) ", output, re.MULTILINE)
    return dict(sorted(rows))


def parse_licenses(output: str) -> dict[str, list[str]]:
    """package: short names of the licenses in its copyright file, from the output of LICENSES."""
    licenses: dict[str, set[str]] = {}
    for line in output.splitlines():
        path, _, text = line.partition(":")
        if name := text.removeprefix("License:").strip():
            licenses.setdefault(path.split("/")[4], set()).add(name)
    return {package: sorted(names) for package, names in sorted(licenses.items())}
