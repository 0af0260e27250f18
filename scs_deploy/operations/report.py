# SPDX-License-Identifier: Apache-2.0
"""A report of a region for colleagues and for upstream: what it consists of, how it is, what it wrote; no secret.

Each part is what a command of scs prints, run as a process of its own: a part that fails or hangs is noted, and the
others are there. Everything is searched for the region's secrets before it is written.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from pydantic import Field

from scs_deploy.base import systemd
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import store, vault

PATIENCE = 180
"""Seconds until a part that hangs is left out."""

SHORTEST = 8
"""Characters of a secret; a shorter one would be found everywhere."""

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "version.json": ("version", "--json"),
    "status.json": ("status", "--json"),
    "doctor.json": ("doctor", "--json"),
    "plan.json": ("plan", "--json"),
    "nodes.json": ("node", "list", "--json"),
    "storage.json": ("storage", "status", "--json"),
    "alerts.json": ("alerts", "list", "--all", "--json"),
    "silences.json": ("alerts", "silences", "--json"),
    "images.json": ("images", "list", "--json"),
    "certificates.json": ("certs", "list", "--json"),
    "backups.json": ("backup", "list", "--json"),
    "inventory.json": ("inventory", "show", "--json"),
    "runs.json": ("runs", "list", "--json"),
}
"""File of the report: words after `scs`. What such a command finds wrong, its exit code tells; that is no failure."""

FILES = ("environment.yml", "release.lock.yml", "storage.yml", "cloud.yml", "config/**/*", "group_vars/**/*")
"""Of the environment."""

_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_LOGIN = re.compile(r"(?<=://)[^\s/:@\"']+:[^\s/@\"']+(?=@)")
_TOKEN = re.compile(r"\bgAAAAA[\w-]{20,}={0,2}")
"""Keystone's Fernet tokens."""


class Part(Model):
    """A file of the report."""

    file: str
    command: str = Field(default="", description="what printed it; empty: a file of the environment")
    code: int | None = Field(default=None, description="its exit code; null: it was stopped after PATIENCE seconds")
    seconds: float = 0.0
    note: str = Field(default="", description="why it is not there, or what it said on stderr")
    redacted: int = Field(default=0, description="places where a secret stood")
    content: str = Field(default="", exclude=True)

    @property
    def missing(self) -> bool:
        """Whether nothing came of it although there should be something."""
        return self.code is None or (self.code not in (0, 2, 3) and not self.content)


Run = Callable[[tuple[str, ...]], tuple[int | None, str, str]]
"""Runs scs with these words: exit code, stdout, stderr."""


class Redaction:
    """Takes secrets out of texts.

    :param secrets: values by name
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._names: dict[str, str] = {}
        for name, value in secrets.items():
            if len(value) >= SHORTEST:
                # as it is, in JSON, and in a URL
                for form in (value, json.dumps(value)[1:-1], quote(value, safe="")):
                    self._names.setdefault(form, name)
        words = sorted(self._names, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, words))) if words else None

    def of(self, text: str) -> tuple[str, int]:
        """The text without secrets, and how many there were."""
        number = 0
        for pattern, word in ((_KEY, "<private key>"), (_LOGIN, "<login>"), (_TOKEN, "<token>")):
            text, found = pattern.subn(word, text)
            number += found
        if self._pattern:
            text, found = self._pattern.subn(lambda match: f"<secret {self._names[match[0]]}>", text)
            number += found
        return text, number


def redaction(environment: Environment) -> Redaction:
    """Of all secrets of a region.

    :raises RefusedError: they cannot be read, so that nobody could tell whether one is in the report
    """
    try:
        secrets = dict(store.load(environment))
        secrets["vault password"] = vault.password(environment).decode("utf-8", "replace")
    except RefusedError as error:
        raise RefusedError(
            f"{error.message}: without the secrets, they cannot be kept out of a report", error.hint
        ) from None
    return Redaction(secrets)


def run_scs(environment: Environment) -> Run:
    """Runs scs for a region."""

    def run(words: tuple[str, ...]) -> tuple[int | None, str, str]:
        command = [systemd.program(), *words, "--environment", environment.name]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False,
                encoding="utf-8", errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return None, "", f"stopped after {PATIENCE} s"
        return done.returncode, done.stdout, done.stderr

    return run


def collect(
    environment: Environment, run: Run, clean: Redaction, since: datetime, until: datetime, runs: int = 10
) -> Iterator[Part]:
    """All parts of a report.

    :param since, until: of logs and runs
    :param runs: how many of the runs in that time to show with all their steps
    """
    commands = dict(COMMANDS)
    window = ("--since", since.isoformat(), "--until", until.isoformat())
    commands["logs.jsonl"] = ("logs", "--level", "warning", *window, "--json")
    for file, words in commands.items():
        part = _part(run, clean, file, words)
        yield part
        if file == "runs.json":
            for name in _runs(part.content, since, until)[:runs]:
                yield _part(run, clean, f"runs/{name}.json", ("runs", "show", name, "--json"))
    for path in sorted({p for pattern in FILES for p in environment.path.glob(pattern) if p.is_file()}):
        content, number = clean.of(path.read_text(encoding="utf-8", errors="replace"))
        name = f"environment/{path.relative_to(environment.path)}"
        # without its key, a vault is of no use to anybody, and it is nobody's business
        if not content.startswith("$ANSIBLE_VAULT"):
            yield Part(file=name, code=0, redacted=number, content=content)


def _part(run: Run, clean: Redaction, file: str, words: tuple[str, ...]) -> Part:
    begin = time.monotonic()
    code, output, said = run(words)
    content, number = clean.of(output)
    note, more = clean.of(said.strip())
    return Part(
        file=file, command=" ".join(("scs", *words)), code=code, seconds=round(time.monotonic() - begin, 1),
        note=note[-2000:], redacted=number + more, content=content,
    )  # fmt: skip


def _runs(listed: str, since: datetime, until: datetime) -> list[str]:
    """Ids of the runs that went on in a time, the newest first."""
    try:
        rows = [(r["id"], r["started"], r["finished"] or until.isoformat()) for r in json.loads(listed)]
        times = [(i, datetime.fromisoformat(first), datetime.fromisoformat(last)) for i, first, last in rows]
        return [i for i, first, last in times if first <= until and last >= since]
    except (ValueError, KeyError, TypeError):
        return []


def write(target: Path, region: str, since: datetime, until: datetime, parts: Iterable[Part]) -> None:
    """Write the report: a compressed archive that its owner may read.

    :raises RefusedError: it cannot be written
    """
    folder = target.name.removesuffix(".tar.gz")
    found = list(parts)
    about = {
        "region": region, "since": since.isoformat(), "until": until.isoformat(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"), "parts": [p.model_dump() for p in found],
    }  # fmt: skip
    contents = {"README": README, "report.json": json.dumps(about, indent=2) + "\n"}
    contents |= {p.file: p.content for p in found if p.content}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in contents.items():
            data = content.encode()
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(data))
    try:
        with target.open("xb") as stream:
            target.chmod(0o600)
            stream.write(buffer.getvalue())
    except OSError as error:
        raise RefusedError(f"{target}: {error.strerror}", "--output FILE names another file") from None


README = """\
A report of a region of Sovereign Cloud Stack, made by `scs report`.

report.json     what is in it, which command printed it, its exit code, and how many secrets were taken out
status.json     every container: state, health, restarts
doctor.json     what is wrong with the manager, the region and its hosts
plan.json       what differs from the desired state
logs.jsonl      lines of all containers and hosts, from warnings on
runs/           what scs did in that time, step by step
environment/    the region's own configuration

Passwords, keys and tokens were replaced. Names and addresses of hosts were not, nor what users have named: read it
before you give it to others.
"""
