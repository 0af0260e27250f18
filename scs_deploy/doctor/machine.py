# SPDX-License-Identifier: Apache-2.0
"""The manager itself: what every command of scs needs, before any region exists."""

from __future__ import annotations

import ctypes
import locale
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from scs_deploy.base import docker_engine, paths, variables
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import at
from scs_deploy.base.version import version
from scs_deploy.doctor.model import Check, failed, ok, space, warning

OLDEST = (3, 11)
"""Python, as in pyproject.toml."""

API = (1, 41)
"""Docker's API that scs speaks, on the manager and on hosts."""

PROGRAMS = ("ssh", "ssh-keygen", "git")
TIMEOUT = 5.0

UNSYNCHRONISED = 5
"""adjtimex(2), TIME_ERROR"""


def checks() -> Iterator[Check]:
    """All checks of this machine."""
    yield python()
    yield ok("scs", f"{version()} in {paths.root()}")
    yield programs()
    folder = None
    try:
        client = docker_engine.connect()
        yield engine(client.version())
        folder = Path(str(client.info()["DockerRootDir"]))
    except RefusedError as error:
        yield failed("docker", error.message, error.hint)
    for name, path in (("disk environments", paths.environments()), ("disk temporary", Path(_temporary()))):
        yield disk(name, path)
    if folder is not None:
        yield disk("disk docker", folder)
    yield memory(Path("/proc/meminfo"))
    yield clock()
    yield language(variables.FIXED["LC_ALL"])
    yield from proxies(os.environ)


def python(found: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """The version of Python."""
    text = ".".join(map(str, found))
    if found < OLDEST:
        return failed("python", text, f"install Python {'.'.join(map(str, OLDEST))} or later, then scs again")
    return ok("python", f"{text} ({sys.executable})")


def programs(names: tuple[str, ...] = PROGRAMS) -> Check:
    """Programs that scs starts."""
    missing = [n for n in names if shutil.which(n) is None]
    if missing:
        return failed("programs", f"missing: {', '.join(missing)}", "apt install openssh-client git")
    return ok("programs", ", ".join(names))


def engine(said: Mapping[str, object], check: str = "docker", host: str = "") -> Check:
    """The versions that a Docker engine reports, as `GET /version` has them."""
    seen = str(said["Version"])
    newest, oldest = _api(said["ApiVersion"]), _api(said.get("MinAPIVersion", "1.0"))
    wanted = ".".join(map(str, API))
    if newest < API:
        return failed(check, f"{seen}, which lacks API {wanted}", "upgrade Docker to 20.10 or later", host)
    if oldest > API:
        remedy = f"set min-api-version to {wanted} in /etc/docker/daemon.json, or install an older Docker"
        return failed(check, f"{seen}, which dropped API {wanted}", remedy, host)
    return ok(check, seen, host)


def _api(text: object) -> tuple[int, ...]:
    return tuple(int(part) for part in str(text).split("."))


def disk(name: str, path: Path) -> Check:
    """Free space of the file system on which a folder is, or will be."""
    while not os.path.lexists(path):
        path = path.parent
    try:
        found = os.statvfs(path)
    except OSError as error:
        return failed(name, f"{path}: {error.strerror}", f"look at the mount of {path}")
    if found.f_flag & os.ST_RDONLY:
        return failed(name, f"{path} is mounted read-only", f"look at the disk, then: mount -o remount,rw {path}")
    return space(name, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, str(path))


def memory(file: Path) -> Check:
    """Available memory, from a file in the form of /proc/meminfo."""
    fields = dict(line.split(":", 1) for line in file.read_text(encoding="utf-8").splitlines() if ":" in line)
    free, total = (int(fields[name].split()[0]) * 1024 for name in ("MemAvailable", "MemTotal"))
    return space("memory", free, total, "end other programs, or give the manager more memory")


def clock(state: Callable[[], int | None] | None = None) -> Check:
    """Whether the kernel's clock is synchronised."""
    found = (state or _clock_state)()
    if found is None:
        return ok("clock", "kept by the machine that this container runs on")
    if found == UNSYNCHRONISED:
        return warning("clock", "not synchronised", "apt install chrony, and open UDP port 123 to its servers")
    return ok("clock", "synchronised")


def _clock_state() -> int | None:
    """The result of adjtimex(2), which changes nothing here; None where a container may not ask."""
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    return None if state < 0 else int(state)


def language(name: str) -> Check:
    """The locale with which scs and its programs run."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
    except locale.Error:
        return failed("locale", f"{name} is missing", "apt install libc-bin, which has it")
    else:
        return ok("locale", name)
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def proxies(given: Mapping[str, str]) -> Iterator[Check]:
    """The proxies for image builds, NetBox and a registry elsewhere; credentials in their URLs are not shown."""
    found = {n: v for n, v in sorted(given.items()) if n.lower() in ("http_proxy", "https_proxy") and v}
    if not found:
        yield ok("proxy", "none")
    for name, url in found.items():
        yield _proxy(name, url)


def _proxy(name: str, url: str) -> Check:
    check = f"proxy {name}"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        address, port = parts.hostname, parts.port or 80
    except ValueError:
        address, port = None, 0
    if not address:
        return failed(check, "not a URL", f"export {name}=http://HOST:PORT, or unset {name}")
    where = at(address, port)
    try:
        socket.create_connection((address, port), TIMEOUT).close()
    except OSError as error:
        said = error.strerror or "no response in time"
        return failed(check, f"{where}: {said}", f"correct or unset {name}; image builds and NetBox use it")
    return ok(check, f"{where} answers")


def _temporary() -> str:
    return os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - its disk is looked at
