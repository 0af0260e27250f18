# SPDX-License-Identifier: Apache-2.0
"""The environment variables that scs and every program it starts run with.

A run must not depend on the shell that started it: an `ANSIBLE_*` variable redirects tasks to the manager, a locale
that is not generated ends Ansible. So a program of scs first reduces its own environment to the variables listed here;
all libraries it loads and all programs it starts see nothing else.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scs_deploy.base import paths

KEPT: Mapping[str, str] = {
    "SCS_ENVIRONMENT": "the region, where `-e` names none",
    "SCS_ENVIRONMENTS": (
        "the folder that holds the regions' folders; default: `environments/` in the checkout, or, where pip installed "
        "scs, in the current folder"
    ),
    "SCS_ROOT": "the folder with collections, releases and image recipes; default: that of this scs",
    "SCS_*": "used by scs's own programs and tests",
    "HOME": "the user's folder",
    "USER": "the user's name",
    "LOGNAME": "the user's name",
    "SHELL": "the shell that completion is installed for",
    "SUDO_USER": "who started a run, for its record",
    "PATH": "where programs are; the folder of scs's Python comes first, the folders of system programs last",
    "TERM": "the terminal",
    "COLORTERM": "the terminal's colours",
    "COLUMNS": "width of the output",
    "LINES": "height of the output",
    "NO_COLOR": "turns colours off",
    "FORCE_COLOR": "turns colours on in pipes",
    "TZ": "time zone of times that are printed",
    "TMPDIR": "folder of temporary files, where it exists",
    "XDG_CACHE_HOME": "folder of caches; default: `~/.cache`",
    "XDG_RUNTIME_DIR": "folder of files that must not reach a disk, where it exists and belongs to the user",
    "EDITOR": "editor of `scs secrets edit`",
    "VISUAL": "the same; comes before `EDITOR`",
    "DISPLAY": "for an editor with a window",
    "WAYLAND_DISPLAY": "for an editor with a window",
    "SSH_AUTH_SOCK": "agent that holds the passphrase-protected key of the environment",
    "DOCKER_*": "the Docker engine for image builds and testbeds",
    "HTTP_PROXY": "proxy for image builds, NetBox and a registry elsewhere; never for the region",
    "HTTPS_PROXY": "as `HTTP_PROXY`",
    "NO_PROXY": "hosts that are reached without the proxy",
    "REQUESTS_CA_BUNDLE": "CA certificates for NetBox and a registry elsewhere",
    "SSL_CERT_FILE": "as `REQUESTS_CA_BUNDLE`",
    "PIP_INDEX_URL": "package index for image builds",
    "PIP_EXTRA_INDEX_URL": "further package index for image builds",
    "PIP_DEFAULT_TIMEOUT": "timeout of package downloads in image builds, in seconds",
}
"""Name: what it is for. A `*` at the end stands for any ending. Proxy variables count in lower case, too."""

COMPLETION = ("_SCS_COMPLETE", "_TYPER_*", "COMP_*")
"""How a shell asks for completions."""

FIXED: Mapping[str, str] = {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}
"""Variables with one value for everybody: this locale exists on every Debian, without the package `locales`."""

SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
FOLDERS = ("TMPDIR", "XDG_RUNTIME_DIR")
UMASK = 0o022
"""Whoever may read a region's folder can read what scs writes there; secrets have modes of their own."""


def reduced(given: Mapping[str, str]) -> dict[str, str]:
    """The variables of `given` that scs works with, and those with a fixed value."""
    kept = {name: value for name, value in given.items() if _listed(name)}
    for name in FOLDERS:
        if name in kept and not _usable(Path(kept[name])):
            del kept[name]
    path = [p for p in kept.get("PATH", "").split(os.pathsep) if p]
    kept["PATH"] = os.pathsep.join([*path, *(p for p in SYSTEM if p not in path)])
    if not _may_hold(Path(kept.get("HOME", "/")) / ".ansible" / "tmp"):
        # a user without a home, or whose folder belongs to root since an earlier sudo
        private = kept.get("XDG_RUNTIME_DIR")
        kept["ANSIBLE_LOCAL_TEMP"] = private or tempfile.gettempdir()
        if private:
            # never in a folder of all users: ssh does not check who made the sockets in it
            kept["ANSIBLE_SSH_CONTROL_PATH_DIR"] = f"{private}/scs-cp"
    # where it is not set, Ansible reads the ansible.cfg of the current folder
    return {**kept, **FIXED, "ANSIBLE_CONFIG": str(paths.root() / "ansible.cfg")}


def adopt() -> None:
    """Reduce this process's own environment; the first thing that a program of scs does."""
    mine = reduced(os.environ)
    os.environ.clear()
    os.environ.update(mine)
    os.umask(UMASK)


def without_proxies(variables: Mapping[str, str]) -> dict[str, str]:
    """The same for a program that speaks to the region only: its addresses are never asked through a proxy."""
    return {name: value for name, value in variables.items() if not name.lower().endswith("_proxy")}


def _listed(name: str) -> bool:
    wanted = name.upper() if name.endswith("_proxy") else name
    return any(wanted.startswith(each[:-1]) if each.endswith("*") else wanted == each for each in (*KEPT, *COMPLETION))


def _may_hold(folder: Path) -> bool:
    """Whether this user can create the folder, or write to it."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return _usable(folder)


def _usable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
