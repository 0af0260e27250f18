# SPDX-License-Identifier: Apache-2.0
"""Where backups are stored: in a folder on the manager, or on another host over SSH."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Protocol

from scs_deploy.base import ssh
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.backup.manifest import ID, NAME

URL = re.compile(r"ssh://(?:(?P<user>[\w.-]+)@)?(?P<host>\w[\w.-]*|\[[0-9a-fA-F:]+\])(?::(?P<port>\d+))?(?P<path>/.+)")


class Target(Protocol):
    """A folder of backups. Ids and file names are generated here or validated, and therefore safe in paths."""

    where: str
    """for display"""

    def prepare(self) -> None:
        """Create the folder.

        :raises RefusedError: the folder cannot be used
        """

    def read_all(self) -> dict[str, str | None]:
        """The manifest of each backup by id; None if the backup was interrupted and has none.

        :raises RefusedError: the target cannot be reached
        """

    def writing(self, backup: str, file: str) -> AbstractContextManager[IO[bytes]]:
        """Open a new file for writing.

        :raises ScsError: the file could not be written completely
        """

    def reading(self, backup: str, file: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file for reading.

        :raises ScsError: the file could not be read
        """

    def commit(self, backup: str, text: str) -> None:
        """Write the manifest atomically, after all other files have reached the disk."""

    def remove(self, backup: str) -> None:
        """Remove a backup, starting with the manifest, so that an interrupted removal leaves no valid backup."""

    def free(self) -> int:
        """Free space in bytes."""


def open_target(environment: Environment) -> Target:
    """The target from environment.yml.

    :raises RefusedError: neither a folder nor an ssh:// URL
    """
    settings = environment.settings.backup
    if "://" not in settings.target:
        return Folder(environment.path / settings.target / environment.name)
    match = URL.fullmatch(settings.target)
    if match is None:
        raise RefusedError(
            f"{environment.file}: backup.target: '{settings.target}' is neither a folder nor ssh://user@host/folder",
            "e.g. ssh://backup@archive.example/srv/scs",
        )
    key = environment.path / settings.ssh_key if settings.ssh_key else environment.ssh_key
    return Ssh(environment, match, key)


class Folder:
    """Backups in a folder on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.where = str(self.path)

    def prepare(self) -> None:
        """See Target."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise RefusedError(f"{self.where}: {error.strerror}", "choose another backup.target") from None

    def read_all(self) -> dict[str, str | None]:
        """See Target."""
        if not self.path.is_dir():
            return {}
        result: dict[str, str | None] = {}
        for folder in sorted(self.path.iterdir()):
            if ID.fullmatch(folder.name):
                file = folder / NAME
                result[folder.name] = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None
        return result

    @contextmanager
    def writing(self, backup: str, file: str) -> Iterator[IO[bytes]]:
        """See Target."""
        folder = self.path / backup
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            with open(folder / file, "xb", opener=_private) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise ScsError(f"{folder / file}: {error.strerror or error}") from None

    @contextmanager
    def reading(self, backup: str, file: str) -> Iterator[IO[bytes]]:
        """See Target."""
        path = self.path / backup / file
        try:
            stream = path.open("rb")
        except OSError as error:
            raise RefusedError(f"{path}: {error.strerror}", "the backup is damaged: scs backup list") from None
        with stream:
            yield stream

    def commit(self, backup: str, text: str) -> None:
        """See Target."""
        folder = self.path / backup
        with self.writing(backup, f"{NAME}.part") as stream:
            stream.write(text.encode())
        _sync(folder)
        (folder / f"{NAME}.part").rename(folder / NAME)
        _sync(folder)
        _sync(self.path)

    def remove(self, backup: str) -> None:
        """See Target."""
        folder = self.path / backup
        (folder / NAME).unlink(missing_ok=True)
        _sync(folder)
        shutil.rmtree(folder)

    def free(self) -> int:
        """See Target."""
        return shutil.disk_usage(self.path).free


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Ssh:
    """Backups in a folder on another host, which needs only a shell and the usual file commands."""

    def __init__(self, environment: Environment, url: re.Match[str], key: Path) -> None:
        self.folder = f"{url['path'].rstrip('/')}/{environment.name}"
        self._name = (f"{url['user']}@" if url["user"] else "") + url["host"].strip("[]")
        self.where = f"{self._name}:{self.folder}"
        options = {
            **ssh.options(environment.known_hosts),
            # the target may be a host that the operator knows already
            "UserKnownHostsFile": f"{environment.known_hosts} ~/.ssh/known_hosts",
            "GlobalKnownHostsFile": "/etc/ssh/ssh_known_hosts",
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "ServerAliveInterval": "15",
            "LogLevel": "ERROR",
        }
        self._ssh = ["ssh", "-i", str(key), *(["-p", url["port"]] if url["port"] else []), *ssh.arguments(options)]

    def prepare(self) -> None:
        """See Target."""
        self._run('umask 077; mkdir -p "$1" && test -w "$1"', self.folder)

    def read_all(self) -> dict[str, str | None]:
        """See Target."""
        script = (
            'cd "$1" 2> /dev/null || exit 0; for d in [0-9]*Z; do [ -d "$d" ] || continue; '
            'echo "== $d"; [ ! -f "$d/$2" ] || cat "$d/$2"; done'
        )
        text = self._run(script, self.folder, NAME)
        result: dict[str, str | None] = {}
        for part in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
            backup, _, content = part.partition("\n")
            if ID.fullmatch(backup):
                result[backup] = content or None
        return result

    @contextmanager
    def writing(self, backup: str, file: str) -> Iterator[IO[bytes]]:
        """See Target."""
        # the manifest, written last, distinguishes a complete backup from a broken connection
        script = 'umask 077; set -C; mkdir -p "$1" && cat > "$1/$2" && sync "$1/$2"'
        process = self._start(script, f"{self.folder}/{backup}", file, stdin=subprocess.PIPE)
        assert process.stdin
        try:
            yield process.stdin
            process.stdin.close()
        except BrokenPipeError:
            pass
        except BaseException:
            process.kill()
            process.wait()
            raise
        self._finish(process, f"{backup}/{file}")

    @contextmanager
    def reading(self, backup: str, file: str) -> Iterator[IO[bytes]]:
        """See Target."""
        process = self._start('cat "$1/$2"', f"{self.folder}/{backup}", file, stdout=subprocess.PIPE)
        assert process.stdout
        try:
            yield process.stdout
            # read the rest, because unread data would make the other end fail
            while process.stdout.read(1 << 20):
                pass
        except BaseException:
            process.kill()
            process.wait()
            raise
        self._finish(process, f"{backup}/{file}")

    def commit(self, backup: str, text: str) -> None:
        """See Target."""
        with self.writing(backup, f"{NAME}.part") as stream:
            stream.write(text.encode())
        self._run('cd "$1" && mv "$2.part" "$2" && sync . "$2"', f"{self.folder}/{backup}", NAME)

    def remove(self, backup: str) -> None:
        """See Target."""
        self._run('rm -f "$1/$2" && sync "$1" && rm -r "$1"', f"{self.folder}/{backup}", NAME)

    def free(self) -> int:
        """See Target."""
        return int(self._run('df -B1 --output=avail "$1" | tail -n 1', self.folder))

    def _start(
        self, script: str, *arguments: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        remote = shlex.join(["sh", "-c", script, "backup", *arguments])
        return subprocess.Popen(
            [*self._ssh, self._name, "--", remote], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE
        )

    def _finish(self, process: subprocess.Popen[bytes], what: str) -> None:
        assert process.stderr
        said = " ".join(process.stderr.read().decode(errors="replace").split())
        if process.wait():
            raise ScsError(f"{self.where}/{what}: {said or f'ssh failed with exit code {process.returncode}'}")

    def _run(self, script: str, *arguments: str) -> str:
        process = self._start(script, *arguments, stdout=subprocess.PIPE)
        output, said = process.communicate()
        if process.returncode:
            words = " ".join(said.decode(errors="replace").split()) or f"ssh failed with exit code {process.returncode}"
            raise RefusedError(f"backup.target {self.where}: {words}", "check backup.target and backup.ssh_key")
        return output.decode(errors="replace")
