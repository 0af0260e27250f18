# SPDX-License-Identifier: Apache-2.0
"""`scs logs`: which containers are meant, and one stream from several hosts; ssh is a script here."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import container_log
import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.cli import logs
from scs_deploy.engine import container_logs
from tests.support import node_modules
from tests.support.images import needs
from tests.support.live_haproxy import IMAGE, docker
from tests.support.peer_hosts import eventually

SSH = r"""#!/bin/sh
# carries out what a host would be told to
for last; do :; done
case "$*" in *down*) echo "ssh: connect to host down port 22: No route to host" >&2; exit 255;; esac
echo "$last" >> "$(dirname "$0")/asked"
eval "$last"
"""

ENGINE = r"""#!/bin/sh
for last; do :; done
case "$*" in
  *--follow*) echo "2026-01-01T00:00:09.000000000Z 2026-01-01 00:00:09.000 7 ERROR nova.api new"; exit 0;;
esac
case "$last" in
  nova_api) cat "$(dirname "$0")/nova_api";;
  nova_compute) echo "2026-01-01T00:00:02.000000000Z compute";;
  *) echo "Error: No such container: $last" >&2; exit 1;;
esac
"""

API = """\
2026-01-01T00:00:01.000000000Z api first
2026-01-01T00:00:03.000000000Z api last
"""

PREVIOUS = {
    "nova_api": (
        '{"log":"api of before\\n","stream":"stderr","time":"2025-12-31T23:59:58.1Z"}\n'
        '{"log":"cut by a full di\n'
        '{"log":"and its end\\n","stream":"stdout","time":"2025-12-31T23:59:58.100000002Z"}\n'
    ),
    "nova_compute": '{"log":"compute of before\\n","time":"2025-12-31T23:59:58.100000001Z"}\n',
}

WARNINGS = """\
2026-01-01T00:00:01.000000000Z 2026-01-01 00:00:01.000 7 INFO nova.api [req-1] error is no level here
2026-01-01T00:00:02.000000000Z 2026-01-01 00:00:02.000 7 WARNING nova.api [req-2] slow
2026-01-01T00:00:03.000000000Z 2026-01-01 00:00:03.000 7 ERROR nova.api [req-3] broken
2026-01-01T00:00:03.100000000Z Traceback (most recent call last):
2026-01-01T00:00:03.200000000Z   File "api.py", line 7, in get
2026-01-01T00:00:03.300000000Z ValueError: seven
2026-01-01T00:00:04.000000000Z [pid: 7] GET /servers => 200
2026-01-01T00:00:05.000000000Z 2026-01-01 00:00:05.000 7 DEBUG nova.api [req-4] quiet
"""


def host(name: str) -> Any:
    return SimpleNamespace(name=name, address=name, connection={})


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, text in (("ssh", SSH), ("docker", ENGINE)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "nova_api").write_text(API)
    for name, text in PREVIOUS.items():
        (tmp_path / f"{name}.log.1").write_text(text)
    monkeypatch.setattr(container_logs, "LOGS", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    hosts = {name: host(name) for name in ("one", "two", "down")}
    nova = SimpleNamespace(containers={"nova_api": None, "nova_compute": None})
    glance = SimpleNamespace(containers={"glance_api": None})
    found = SimpleNamespace(
        environment=SimpleNamespace(
            path=tmp_path,
            secrets_file=tmp_path / "secrets.yml",
            ssh_key=Path("key"),
            known_hosts="known",
            settings=SimpleNamespace(ssh=SimpleNamespace(user="root")),
        ),
        catalog=SimpleNamespace(
            services={"nova": nova, "glance": glance},
            refuse_left_out=lambda name: None,
            owner={"nova_api": "nova", "nova_compute": "nova", "glance_api": "glance"},
        ),
        inventory=SimpleNamespace(hosts=hosts),
        left_out=(),
        hosts_of=lambda service, container: tuple(
            hosts[h] for h in (("one", "two") if container == "nova_compute" else ("one",))
        ),
    )
    monkeypatch.setattr(logs, "load_for_reading", lambda _: found)
    return found


def names(found: list[container_logs.Source]) -> list[str]:
    return [str(source) for source in found]


def test_a_service_is_all_its_containers(context: Any) -> None:
    assert names(container_logs.select(context, "nova", None)) == [
        "one/nova_api",
        "one/nova_compute",
        "two/nova_compute",
    ]
    assert names(container_logs.select(context, "nova_compute", "two")) == ["two/nova_compute"]


@pytest.mark.parametrize(
    ("name", "on", "message"),
    [
        ("nova_compte", None, "did you mean nova_compute"),
        ("nova", "three", "no host 'three'"),
        ("glance", "two", "glance does not run on two"),
    ],
)
def test_what_is_not_there_is_refused(context: Any, name: str, on: str | None, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        container_logs.select(context, name, on)


@pytest.mark.parametrize("follow", [False, True])
def test_lines_of_several_containers(context: Any, capsys: pytest.CaptureFixture[str], follow: bool) -> None:
    logs.logs("nova", host="one", follow=follow)
    lines = capsys.readouterr().out.splitlines()
    expected = ["one/nova_api | api first", "one/nova_compute | compute", "one/nova_api | api last"]
    if follow:
        new = "2026-01-01 00:00:09.000 7 ERROR nova.api new"
        expected += [f"one/nova_api | {new}", f"one/nova_compute | {new}"]
    assert sorted(lines) == sorted(expected) if follow else lines == expected


def test_one_container_needs_no_prefix(context: Any, capsys: pytest.CaptureFixture[str]) -> None:
    logs.logs("nova_compute", host="two")
    assert capsys.readouterr().out == "compute\n"


def test_errors_name_host_and_cause(context: Any) -> None:
    with pytest.raises(ScsError, match="one/glance_api: Error: No such container"):
        logs.logs("glance")
    context.hosts_of = lambda *_: (host("down"),)
    with pytest.raises(ScsError, match=r"down \(down\): unreachable over SSH: ssh: connect .* No route to host"):
        logs.logs("glance")


def test_the_container_before(context: Any, capsys: pytest.CaptureFixture[str]) -> None:
    logs.logs("nova", host="one", previous=True)
    expected = ["one/nova_api | api of before", "one/nova_compute | compute of before", "one/nova_api | and its end"]
    assert capsys.readouterr().out.splitlines() == expected
    with pytest.raises(
        ScsError, match=r"one/glance_api: .*glance_api.log.1: No such file .*no run has replaced it yet"
    ):
        logs.logs("glance", previous=True)


def shown(capsys: pytest.CaptureFixture[str], **options: Any) -> list[str]:
    logs.logs("nova_api", **options)
    return capsys.readouterr().out.splitlines()


def test_a_level_and_all_above_it(context: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nova_api").write_text(WARNINGS)
    lines = [line.partition(" ")[2] for line in WARNINGS.splitlines()]
    assert shown(capsys, level=container_logs.Level.ERROR) == lines[2:6]
    assert shown(capsys, level=container_logs.Level.WARNING) == lines[1:6]
    assert shown(capsys, level=container_logs.Level.INFO) == lines[:7]
    assert shown(capsys, level=container_logs.Level.DEBUG) == lines
    # the last ones of those that match
    assert shown(capsys, level=container_logs.Level.WARNING, lines=1) == ["ValueError: seven"]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-01-01 0:00:01 0 [Warning] Aborted connection 7", "warning"),
        ("2026-01-01 00:00:01.0+00:00 [error] <0.1.0> closing", "error"),
        ("[ALERT]    (7) : backend nova has no server", "critical"),
        ("2026-01-01T00:00:01Z|00001|vlog|INFO|opened log file", "info"),
        ("2026-01-01 00:00:01.000+0000: 7: error : virNetSocketReadWire:1781", "error"),
        ("[Thu Jan 01 00:00:01 2026] [wsgi:error] [pid 7] no module", "error"),
        ('time="2026-01-01T00:00:01Z" level=warning msg="no error"', "warning"),
        ('{"ts":1,"level":"fatal","msg":"out of space"}', "critical"),
        ("GET /v3/errors => 200", ""),
        ("the error was an Error of nobody", ""),
    ],
)
def test_levels_of_the_programs_that_a_region_runs(line: str, level: str) -> None:
    assert container_log.level_of(line) == level


def test_levels_of_the_option_are_those_of_the_program() -> None:
    assert tuple(container_logs.Level) == container_log.LEVELS


def test_text_and_time(context: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nova_api").write_text(WARNINGS)
    assert shown(capsys, grep=r"req-[13]\b", timestamps=True) == [WARNINGS.splitlines()[0], WARNINGS.splitlines()[2]]
    assert shown(capsys, begin="2026-01-01T00:00:03.2+00:00", end="2026-01-01T01:00:03.3+01:00") == [
        '  File "api.py", line 7, in get', "ValueError: seven"
    ]  # fmt: skip
    assert shown(capsys, grep="nobody wrote this") == []


def test_hosts_filter_and_a_window_is_not_cut(context: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nova_api").write_text("".join(f"2026-01-01T00:00:01.{n:09}Z line {n}\n" for n in range(300)))
    assert len(shown(capsys, begin="2026-01-01")) == 300
    assert shown(capsys, grep="line 1.$", lines=2) == ["line 18", "line 19"]
    # both are words of the program on the host, not of the manager
    assert '"grep": "line 1.$"' in (tmp_path / "asked").read_text()


def test_the_log_before_is_filtered_too(context: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, previous=True, grep="end") == ["and its end"]
    assert shown(capsys, previous=True, end="2025-12-31T23:59:58.15+00:00", lines=1) == ["and its end"]
    assert shown(capsys, previous=True, end="2025-12-31T23:59:58.1+00:00") == ["api of before"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"previous": True, "follow": True}, "--previous cannot be combined with --follow"),
        ({"end": "1h", "follow": True}, "--until cannot be combined with --follow"),
        ({"begin": "yesterday"}, "--since yesterday: not a point in time (e.g. 30m, 12h"),
        ({"end": "25:00"}, "--until 25:00: not a point in time"),
        ({"begin": "1h", "end": "2h"}, "--since 1h is not before --until 2h: no line can match"),
        ({"begin": "2226-01-01"}, "--since 2226-01-01 is not before now: no line can match"),
        ({"grep": "a(b"}, "--grep a(b: not a regular expression: missing ), unterminated subpattern"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_connected(
    context: Any, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RefusedError) as error:
        logs.logs("nova", **options)
    assert str(error.value).startswith(message)
    assert not (tmp_path / "asked").exists()


@needs(IMAGE)
def test_a_node_keeps_the_log_of_the_container_before(
    context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real engine replaces a container twice; `scs logs` reads what the node has then."""
    module, name = node_modules.containers(monkeypatch, tmp_path), f"scs-test-logs-{uuid.uuid4().hex[:8]}"
    folder = tmp_path / "LOGS"
    file = folder / f"{name}.log.1"
    # the node's folder is one of this test, its engine is the real one
    monkeypatch.setattr(container_logs, "LOGS", str(folder))
    (tmp_path / "docker").unlink()
    context.catalog.owner[name] = "nova"

    def action(word: str) -> Any:
        body = {
            "Image": IMAGE, "Cmd": ["sh", "-c", f"echo {word} to both; echo {word} >&2; exec sleep 600"],
            "HostConfig": {"NetworkMode": "none"},
        }  # fmt: skip
        return module.Action("create", name, body=body)

    roller = module.Roller()
    try:
        for generation in ("first", "second", "third"):
            roller.create(action(generation))
            said = f"{generation} to both"
            eventually(lambda said=said: said in docker("logs", name))  # type: ignore[misc]
        logs.logs(name, host="one", previous=True)
        assert sorted(capsys.readouterr().out.splitlines()) == ["second", "second to both"]
        assert file.stat().st_nlink == 1, "the engine has removed its own"
        roller.remove(module.Action("remove", name))
        assert not list(folder.iterdir())
    finally:
        docker("rm", "--force", "--volumes", name)


def test_without_a_name_and_without_a_store_each_host_is_read_once(
    context: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.logs(begin="2025-12-31")
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "one/nova_api | api first", "one/nova_compute | compute", "two/nova_compute | compute",
        "one/nova_api | api last",
    ]  # fmt: skip
    # a container that was never made, as one of a host that is being deployed, is no error here
    assert "glance_api" in (tmp_path / "asked").read_text()
    assert (tmp_path / "asked").read_text().count("#!/usr/bin/python3") == 2
    assert "reading the hosts: this region keeps no logs" in told.err


def test_a_request_is_found_beside_other_words(
    context: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nova_api").write_text(WARNINGS)
    logs.logs(request="req-2", grep="slow|broken", as_json=True)
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert row == {
        "time": "2026-01-01T00:00:02.000000000Z", "host": "one", "service": "nova", "container": "nova_api",
        "level": "", "text": "2026-01-01 00:00:02.000 7 WARNING nova.api [req-2] slow", "fields": {},
    }  # fmt: skip
    logs.logs("nova_api", request="req-2", origin=logs.Origin.HOSTS)
    assert capsys.readouterr().out.endswith("[req-2] slow\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"follow": True}, "--follow cannot be combined with no name"),
        ({"name": "nova", "previous": True, "origin": logs.Origin.STORE}, "--previous cannot be combined with --from"),
        ({"name": "nova", "request": "a b"}, "--request-id a b: not the id of a request"),
        ({"host": "nobody"}, "no host 'nobody'"),
        ({"name": "nowa", "origin": logs.Origin.STORE}, "no service or container 'nowa'"),
        ({"name": "nova", "origin": logs.Origin.STORE}, "this region keeps no logs: no host is in group monitoring"),
        ({"name": "ssh.service"}, "this region keeps no logs"),
        ({"name": "kernel", "origin": logs.Origin.HOSTS}, "kernel is a unit of the hosts' journal"),
    ],
)
def test_what_the_stores_cannot_be_asked_is_refused(context: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        logs.logs(**options)
