# SPDX-License-Identifier: Apache-2.0
"""Python packages in build containers: a virtualenv, pip from Debian's package, and parsers of their output.

pip is in the builder's volume, not in the image. It downloads from the manager's index, accepts only files with a
pinned hash (https://pip.pypa.io/en/stable/topics/secure-installs/), and resolves nothing: the pins are complete.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from scs_deploy.base.errors import RefusedError
from scs_deploy.images.apt import WORK
from scs_deploy.images.packages import PYPI
from scs_deploy.images.pins import Pin, lines
from scs_deploy.images.recipe import File

VENV = "/opt/scs"
HOST_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
BUNDLE = f"{WORK}/ca.crt"
REQUIREMENTS = f"{WORK}/private/$HOSTNAME"
"""Prefix of the requirements files of one build; the shell sets the host name."""

INHERITED = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT")
"""The manager's variables that builds inherit: the package index, and access to it."""

# The newest version in the suites. The wheel runs as it is: it is not unpacked, and images do not contain it.
FETCH = f"""\
wanted=$(apt-cache show --no-all-versions python3-pip-whl | sed -n 's/^Version: //p')
[ "$(cat {WORK}/lib/pip.version 2>/dev/null)" = "$wanted" ] || {{
  cd {WORK}/archives && apt-get download python3-pip-whl && rm -rf {WORK}/lib/x
  dpkg-deb -x python3-pip-whl_*.deb {WORK}/lib/x && mv {WORK}/lib/x/usr/share/python-wheels/pip-*.whl {WORK}/lib/pip.whl
  rm -rf {WORK}/lib/x && echo "$wanted" > {WORK}/lib/pip.version
}}
"""

CREATE = f"[ -e {VENV} ] || python3 -m venv --without-pip {VENV}\n"
PIP = f"python3 {WORK}/lib/pip.whl/pip --python {VENV}/bin/python"

# Sources are built last, with the pinned setuptools, which every image has because of pbr.
INSTALL = f"""\
{CREATE}\
for kind in wheels sources; do
  [ -s {REQUIREMENTS}.$kind ] || continue
  options=--only-binary=:all:
  [ $kind = wheels ] || options='--no-build-isolation --use-pep517'
  {PIP} install --quiet --no-compile --no-deps --require-hashes $options --requirement {REQUIREMENTS}.$kind
done
rm -f {REQUIREMENTS}.wheels {REQUIREMENTS}.sources
{PIP} check
"""

SYSTEM_SITE_PACKAGES = f"sed -i 's/^\\(include-system-site-packages\\) = .*/\\1 = true/' {VENV}/pyvenv.cfg\n"

COMPILE = f"python3 -m compileall -qq -j2 -x '/tests?/' {VENV}/lib >/dev/null 2>&1 || true\n"

_PROGRAM = f"""\
import glob
import importlib.metadata
import re
import sys

for found in importlib.metadata.distributions(path=glob.glob("{VENV}/lib/python3*/site-packages")):
    name, about = re.sub("[-_.]+", "-", found.name).lower(), found.metadata
    if sys.argv[1] == "packages":
        print("ii", "{PYPI}" + name, found.version, "any", name, found.version, sep="\\t")
    else:
        said = [about.get("License-Expression") or ""] + [
            each.rpartition(" :: ")[2] for each in about.get_all("Classifier", []) if each.startswith("License ::")
        ]
        print("{PYPI}" + name, *filter(None, said), sep="\\t")
"""
QUERY = f"[ ! -e {VENV} ] || python3 -IS - packages <<'END'\n{_PROGRAM}END\n"
LICENSES = f"[ ! -e {VENV} ] || python3 -IS - licenses <<'END'\n{_PROGRAM}END\n"


def bundle(path: Path | None) -> Path | None:
    """The CA certificates that builds trust: the given file, else the manager's own bundle if it exists.

    :raises RefusedError: the given file is not a bundle
    """
    if path is None:
        return HOST_BUNDLE if HOST_BUNDLE.is_file() else None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"--ca-bundle {path}: cannot be read: {error}") from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise RefusedError(f"--ca-bundle {path}: contains no certificate", "use a file of PEM certificates")
    return path


def environment(trusted: bool) -> dict[str, str]:
    """Environment variables for pip in a build container.

    :param trusted: whether the volume contains a bundle of CA certificates
    """
    certificates = dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), BUNDLE) if trusted else {}
    return {
        **inherited(INHERITED),
        **certificates,
        "PIP_CACHE_DIR": f"{WORK}/pip",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }


def inherited(names: Iterable[str]) -> dict[str, str]:
    """The manager's variables of these names, in either case, as far as they are set."""
    return {n: os.environ[n] for name in names for n in (name, name.lower()) if n in os.environ}


def requirements(hostname: str, selection: Mapping[str, Pin]) -> tuple[File, ...]:
    """The files that INSTALL reads in the container with this host name."""
    kinds = {"wheels": True, "sources": False}
    return tuple(
        File(
            path=f"{WORK}/private/{hostname}.{kind}",
            content=lines({name: pin for name, pin in selection.items() if pin.wheel is wheel}),
        )
        for kind, wheel in kinds.items()
    )


def parse_licenses(output: str) -> dict[str, list[str]]:
    """package: licenses in its metadata, from the output of LICENSES."""
    rows = [line.split("\t") for line in output.splitlines()]
    return {row[0]: sorted(set(row[1:])) for row in rows if row[0].startswith(PYPI) and len(row) > 1}
