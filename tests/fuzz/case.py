# SPDX-License-Identifier: Apache-2.0
"""One case: a few mutations of one region, what `scs env check --json` says, and what is wrong with its answer."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import NamedTuple, NoReturn

from scs_deploy.cli.main import main
from scs_deploy.secrets import vault
from tests.fuzz import mutations
from tests.fuzz.region import NAME, Tree

ARGUMENTS = ["env", "check", NAME, "--json"]
SECONDS = 8
"""of the processor, for one check"""
WAIT = 120
"""seconds until a check hangs, on a busy machine"""
MEMORY = 3 * 2**30
CLI_SHARE = 0.01
"""share of the cases that run the installed command instead of a fork of this process"""
ENCRYPTED = ("secrets.yml", "certificates.yml")
REFUSED = 2


class Outcome(NamedTuple):
    """What a check did. Negative code: the signal that ended it."""

    code: int
    stdout: str
    stderr: str


class Case:
    """The case of one seed. `with` it, the region is mutated."""

    def __init__(self, tree: Tree, clean: Path, seed: str) -> None:
        self.tree = tree
        self.clean = clean
        """a copy of the whole region, to restore it from"""
        self.random = Random(seed)
        self.changes: list[str] = []
        self.touched: list[Path] = []

    def __enter__(self) -> Case:
        targets = self.tree.targets()
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            kind = self.random.choice(list(targets))
            path = self.random.choice(targets[kind])
            if path.is_file() and not path.is_symlink():
                self._mutate(kind, path)
        return self

    def _mutate(self, kind: str, path: Path) -> None:
        self.touched.append(path)
        if self.random.random() < 0.12:
            change = mutations.place(path, self.random, self.tree.environment)
        else:
            change = "content"
            password = (self.clean / self._relative(self.tree.environment) / "vault_password").read_bytes().strip()
            data = path.read_bytes()
            if path.name in ENCRYPTED and self.random.random() < 0.7:
                try:
                    plain = vault.decrypt(data.decode(), password, path.name).encode()
                except Exception:  # noqa: BLE001 - mutated before
                    plain = data
                new = mutations.mutate(plain, self.random)
                path.write_text(vault.encrypt(new.decode(errors="replace"), password), encoding="utf-8")
                change = "plain text"
            else:
                path.write_bytes(mutations.mutate(data, self.random))
        self.changes.append(f"{kind} {self._relative(path)}: {change}")

    def _relative(self, path: Path) -> Path:
        return path.relative_to(self.tree.top)

    def __exit__(self, *_: object) -> None:
        # a mutation of a path may have changed its folder, or that of another one
        own = self.tree.environment
        for folder in dict.fromkeys(own if own in p.parents else p.parent for p in self.touched):
            shutil.rmtree(folder)
            shutil.copytree(self.clean / self._relative(folder), folder, symlinks=True)

    def run(self) -> list[str]:
        """Check the region; returns what is wrong with the answer."""
        before = self.tree.listing()
        with tempfile.TemporaryDirectory(prefix="scs-fuzz-") as elsewhere:
            outcome = (_command if self.random.random() < CLI_SHARE else _forked)(self.tree, Path(elsewhere))
            left = sorted(p.name for p in Path(elsewhere).iterdir())
        after = self.tree.listing()
        written = [f"written: {p}" for p in sorted({*before, *after}) if before.get(p) != after.get(p)]
        return [*faults(outcome, str(self.tree.top)), *written, *(f"written elsewhere: {n}" for n in left)]


def faults(outcome: Outcome, top: str) -> list[str]:
    """What is wrong with an answer: it must be `ok`, or errors of one line that name a file, with exit code 2."""
    if outcome.code not in (0, REFUSED):
        said = (outcome.stderr or outcome.stdout).strip()[-3000:]
        return [f"exit code {outcome.code}: {said}"]
    if outcome.stderr:
        return [f"on stderr: {outcome.stderr.strip()[-3000:]}"]
    try:
        answer = json.loads(outcome.stdout)
    except ValueError:
        return [f"no JSON: {outcome.stdout[-500:]!r}"]
    errors = [p["error"] for p in answer["parts"] if p["error"]]
    wrong = [f"ok is {answer['ok']} with {len(errors)} errors"] if answer["ok"] is bool(errors) else []
    wrong += [f"exit code {outcome.code} with {len(errors)} errors"] if bool(outcome.code) is not bool(errors) else []
    for error in errors:
        first, *rest = error.split("\n")
        # a report of several problems has a line for each
        if any(not line.startswith("  ") for line in rest):
            wrong.append(f"more than one line: {error[:600]!r}")
        if top not in first and NAME not in first:
            wrong.append(f"names no file: {error[:600]!r}")
        if "internal error" in error or "Traceback" in error:
            wrong.append(error[:3000])
        if len(first) > 2000:
            wrong.append(f"{len(first)} characters: {first[:300]}")
    return wrong


def _command(tree: Tree, elsewhere: Path) -> Outcome:
    program = "from scs_deploy.cli.main import main; main()"
    environ = {**os.environ, **tree.variables(), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, *ARGUMENTS], env=environ, cwd=elsewhere, capture_output=True, text=True,
        timeout=2 * WAIT, check=False, preexec_fn=_limit,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def _forked(tree: Tree, elsewhere: Path) -> Outcome:
    """The command in a fork of this process, which has imported everything."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = os.fork()
        if not process:
            _child(elsewhere, out.fileno(), err.fileno())
        _, status = os.waitpid(process, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return Outcome(os.waitstatus_to_exitcode(status), *texts)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(WAIT)


def _child(elsewhere: Path, out: int, err: int) -> NoReturn:
    code: int | str | None = 99
    try:
        _limit()
        os.chdir(elsewhere)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        sys.argv = ["scs", *ARGUMENTS]
        sys.dont_write_bytecode = True
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) or end.code is None else 98
    except BaseException as error:  # noqa: BLE001 - a fork must not go on as its parent
        sys.stderr.write(f"Traceback: {type(error).__name__}: {error}")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)
