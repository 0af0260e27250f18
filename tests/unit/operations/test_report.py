# SPDX-License-Identifier: Apache-2.0
"""A report has what was asked for, says what is missing, and has no secret in it."""

from __future__ import annotations

import json
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.operations import report
from scs_deploy.operations.report import COMMANDS, Redaction

UNTIL = datetime(2026, 12, 1, 8, tzinfo=UTC)
SINCE = UNTIL - timedelta(hours=2)
SECRETS = {"nova_password": 'p"ss/wörd+1234', "short": "abc", "key": "ABCDEFGHIJ"}
KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----"


def test_secrets_are_replaced_however_they_are_written() -> None:
    clean = Redaction(SECRETS)
    for form in (
        'p"ss/wörd+1234', json.dumps('p"ss/wörd+1234')[1:-1], "p%22ss%2Fw%C3%B6rd%2B1234",
    ):  # fmt: skip
        assert clean.of(f"a {form} b") == ("a <secret nova_password> b", 1)
    assert clean.of("abc is a word") == ("abc is a word", 0)
    assert clean.of(f"x {KEY} y") == ("x <private key> y", 1)
    assert clean.of("cut: -----BEGIN PRIVATE KEY-----\nMHc") == ("cut: <private key>", 1)
    assert clean.of("mysql://nova:what@10.0.0.1/nova, https://a/b:c@d") == (
        "mysql://<login>@10.0.0.1/nova, https://a/b:c@d", 1
    )  # fmt: skip
    assert clean.of("X-Auth-Token: gAAAAABpLT3wq0K2kVQ-lgd8_w9Zxq==")[0] == "X-Auth-Token: <token>"
    assert Redaction({}).of("nothing") == ("nothing", 0)


def environment(folder: Path) -> Any:
    (folder / "config").mkdir()
    (folder / "environment.yml").write_text("region: RegionOne\n")
    (folder / "config" / "nova.conf").write_text("[api]\nkey = ABCDEFGHIJ\n")
    (folder / "config" / "vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n00\n")
    (folder / "secrets.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n00\n")
    return SimpleNamespace(path=folder, name="r")


def run(words: tuple[str, ...]) -> tuple[int | None, str, str]:
    if words[0] == "runs":
        if words[1] == "show":
            return 0, f'{{"steps": "of {words[2]} with ABCDEFGHIJ"}}', ""
        times = (("new", "2026-12-01T07:59:00.1Z", None), ("long", "2026-12-01T05:00:00Z", "2026-12-01T06:30:00Z"))
        rows = [{"id": i, "started": s, "finished": f} for i, s, f in times]
        old = {"id": "old", "started": "2026-12-01T04:00:00Z", "finished": "2026-12-01T05:00:00Z"}
        return 0, json.dumps([*rows, old]), ""
    answers: dict[str, tuple[int | None, str, str]] = {
        "plan": (None, "", "stopped after 180 s"),
        "alerts": (2, "", "error: this region has no monitoring"),
        "doctor": (1, '{"ok": false}', ""),
        "status": (1, "", "error: no host can be reached, ABCDEFGHIJ"),
        "logs": (0, f'{{"text": "{" ".join(words)}"}}\n', ""),
    }
    return answers.get(words[0], (0, "{}", ""))


@pytest.fixture
def parts(tmp_path: Path) -> list[report.Part]:
    return list(report.collect(environment(tmp_path), run, Redaction(SECRETS), SINCE, UNTIL))


def test_a_part_that_fails_is_named_and_the_others_are_there(parts: list[report.Part]) -> None:
    assert {p.file for p in parts} == {
        *COMMANDS, "logs.jsonl", "runs/new.json", "runs/long.json", "environment/environment.yml",
        "environment/config/nova.conf",
    }  # fmt: skip
    # what is wrong with a region is no failure of its report, nor is what it does not have
    assert [p.file for p in parts if p.missing] == ["status.json", "plan.json"]
    assert next(p.note for p in parts if p.missing) == "error: no host can be reached, <secret key>"
    logs = next(p for p in parts if p.file == "logs.jsonl")
    assert "--since 2026-12-01T06:00:00+00:00 --until 2026-12-01T08:00:00+00:00" in logs.content


def test_the_archive_is_whole_and_its_owners_alone(tmp_path: Path, parts: list[report.Part]) -> None:
    target = tmp_path / "r.tar.gz"
    report.write(target, "r", SINCE, UNTIL, parts)
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as archive:
        contents = {m.name: archive.extractfile(m).read().decode() for m in archive.getmembers()}  # type: ignore[union-attr]
    assert "r/status.json" not in contents
    assert contents["r/environment/config/nova.conf"] == "[api]\nkey = <secret key>\n"
    assert not any(value in text for text in contents.values() for n, value in SECRETS.items() if n != "short")
    about = json.loads(contents["r/report.json"])
    assert (about["region"], about["since"]) == ("r", "2026-12-01T06:00:00+00:00")
    assert {p["file"]: p["redacted"] for p in about["parts"]}["runs/new.json"] == 1
    with pytest.raises(RefusedError, match="File exists"):
        report.write(target, "r", SINCE, UNTIL, [])


def test_without_the_secrets_there_is_no_report(tmp_path: Path) -> None:
    settings = SimpleNamespace(vault_password_file="missing", vault_password_command=None)
    found = SimpleNamespace(
        path=tmp_path, file=tmp_path / "environment.yml", secrets_file=tmp_path / "secrets.yml", settings=settings,
        state=tmp_path / "state", certificates_file=tmp_path / "certificates.yml",
    )  # fmt: skip
    with pytest.raises(RefusedError, match="without the secrets, they cannot be kept out of a report"):
        report.redaction(found)  # type: ignore[arg-type]
