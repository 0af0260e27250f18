# SPDX-License-Identifier: Apache-2.0
"""`scs logs`: which containers are meant, and one stream from several hosts; ssh is a script here."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.cli import logs
from scs_deploy.region.region import Region
from tests.support import node_modules
from tests.support.live_haproxy import IMAGE, docker, needs
from tests.support.peer_hosts import eventually

SSH = r"""#!/bin/sh
for last; do :; done
case "$*" in *down*) echo "ssh: connect to host down port 22: No route to host" >&2; exit 255;; esac
case "$last" in
  *nova_api.log.1*)
    printf '%s\n' '{"log":"api of before\n","stream":"stderr","time":"2025-12-31T23:59:58.1Z"}'
    printf '%s\n' '{"log":"and its end\n","stream":"stdout","time":"2025-12-31T23:59:58.100000002Z"}';;
  *nova_compute.log.1*) printf '%s\n' '{"log":"compute of before\n","time":"2025-12-31T23:59:58.100000001Z"}';;
  *glance_api.log.1*) echo "tail: cannot open '/var/log/scs/glance_api.log.1'"; exit 1;;
  *nova_api*) echo "2026-01-01T00:00:01.000000000Z api first"; echo "2026-01-01T00:00:03.000000000Z api last";;
  *nova_compute*) echo "2026-01-01T00:00:02.000000000Z compute";;
  *) echo "Error: No such container: $last"; exit 1;;
esac
"""


def host(name: str) -> Any:
    return SimpleNamespace(name=name, address=name, connection={})


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    hosts = {name: host(name) for name in ("one", "two", "down")}
    nova = SimpleNamespace(containers={"nova_api": None, "nova_compute": None})
    glance = SimpleNamespace(containers={"glance_api": None})
    found = SimpleNamespace(
        environment=SimpleNamespace(
            ssh_key="key", known_hosts="known", settings=SimpleNamespace(ssh=SimpleNamespace(user="root"))
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
    monkeypatch.setattr(Region, "load", lambda *_, **__: found)
    return found


def names(found: list[logs.Source]) -> list[str]:
    return [str(source) for source in found]


def test_a_service_is_all_its_containers(context: Any) -> None:
    assert names(logs.select(context, "nova", None)) == ["one/nova_api", "one/nova_compute", "two/nova_compute"]
    assert names(logs.select(context, "nova_compute", "two")) == ["two/nova_compute"]


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
        logs.select(context, name, on)


@pytest.mark.parametrize("follow", [False, True])
def test_lines_of_several_containers(context: Any, capsys: pytest.CaptureFixture[str], follow: bool) -> None:
    logs.logs("nova", host="one", follow=follow)
    lines = capsys.readouterr().out.splitlines()
    expected = ["one/nova_api | api first", "one/nova_compute | compute", "one/nova_api | api last"]
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
    with pytest.raises(ScsError, match=r"one/glance_api: tail: cannot open .*no run has replaced the container yet"):
        logs.logs("glance", previous=True)
    with pytest.raises(RefusedError, match="--previous cannot be combined with --follow"):
        logs.logs("nova", previous=True, follow=True)


@needs(IMAGE)
def test_a_node_keeps_the_log_of_the_container_before(
    context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real engine replaces a container twice; `scs logs` reads what the node has then."""
    module, name = node_modules.containers(monkeypatch, tmp_path), f"scs-test-logs-{uuid.uuid4().hex[:8]}"
    folder = tmp_path / "LOGS"
    file = folder / f"{name}.log.1"
    # the node's folder is one of this test
    (tmp_path / "ssh").write_text(f"#!/bin/sh\nexec tail --lines=100 {file}\n")
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
