# SPDX-License-Identifier: Apache-2.0
"""Hosts are read over plain ssh and with Ansible: both give the same observation, and the same kinds of errors."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.engine import connection, looking, observe, remote, runner, transport
from scs_deploy.engine.remote import Answer, Command, ContainerState
from scs_deploy.environment import release_lock
from scs_deploy.plan.host import HostPlan
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki, store, vault
from tests.conftest import with_dummies
from tests.support import fake_ssh, shipped

NODE = "testbed-1"
HOSTS = (NODE, "gone", "stranger", "cut", "sudo", "bare", "noisy")
"""Names that say what is wrong with the host; see fake_ssh."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped environment with one control host and six compute hosts, which need sudo."""
    folder = tmp_path_factory.mktemp("environments") / "testbed"
    shipped.environment(paths.root() / "environments" / "testbed", folder)
    shutil.copytree(paths.root() / "inventories" / "testbed", folder / "inventory")
    settings = yaml.safe_load((folder / "environment.yml").read_text(encoding="utf-8"))
    settings |= {"inventory": "inventory", "ssh": {"user": "operator"}}
    (folder / "environment.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    inventory = yaml.safe_load((folder / "inventory/hosts.yml").read_text(encoding="utf-8"))
    inventory["all"]["children"]["compute"] = {"hosts": dict.fromkeys(HOSTS)}
    (folder / "inventory/hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    for number, name in enumerate(HOSTS, 11):
        places = enumerate(("management", "provider"))
        write(
            folder, name, networks={n: {"interface": f"eth{i}", "address": f"172.30.{i}.{number}"} for i, n in places}
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCS_ENVIRONMENTS", str(folder.parent))
        made = Region.load("testbed")
    vault.create_password(made.environment)
    store.ensure(made.environment, made.catalog.secrets(), made.catalog.secret_formats)
    pki.ensure(made.environment, wanted_leaves(made.environment, made.catalog, made.inventory))
    release_lock.save(with_dummies(made).lock, made.environment.lock_file)
    made.environment.ssh_key.parent.mkdir(parents=True)
    made.environment.ssh_key.write_text("a key\n", encoding="utf-8")
    return folder


@pytest.fixture
def region(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Region:
    """A copy of it."""
    shutil.copytree(template, tmp_path / "environments" / "testbed")
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return Region.load("testbed")


def write(folder: Path, host: str, **variables: Any) -> None:
    """The variables of a host."""
    text = yaml.safe_dump({"ansible_host": f"{host}.test", **variables})
    (folder / f"inventory/host_vars/{host}.yml").write_text(text, encoding="utf-8")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_ssh.Server]:
    """What answers behind ssh."""
    monkeypatch.setenv("PATH", f"{tmp_path}/hosts/bin:{os.environ['PATH']}")
    with fake_ssh.serving(tmp_path / "hosts") as server:
        yield server


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "hosts" / "calls").read_text(encoding="utf-8").splitlines()


def test_ssh_and_ansible_see_the_same(
    region: Region, engine: fake_ssh.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr(runner, "run_playbook", lambda *_, **_more: pytest.fail("Ansible is not needed"))
        direct = looking.look(region, HOSTS, {"keepalived"}, True, {})
    first = calls(tmp_path)
    monkeypatch.setattr(connection, "of", lambda *_: None)
    ansible = looking.look(region, HOSTS, {"keepalived"}, True, observe.pinned(region))
    second = calls(tmp_path)[len(first) :]

    assert direct.unreachable == ansible.unreachable
    assert direct.unreachable == {
        "gone": "ssh: connect to host gone.test port 22: No route to host", "stranger": "Host key verification failed.",
    }  # fmt: skip
    assert direct.failures.keys() == ansible.failures.keys() == {"cut", "sudo", "bare"}
    assert direct.failures["cut"] == "the answer is incomplete"
    assert direct.failures["sudo"] == "sudo asks for a password"
    assert direct.failures["bare"].endswith("python3: not found")
    for name in (NODE, "noisy"):
        plans = [HostPlan.model_validate(r.results[name]["plan"]) for r in (direct, ansible)]
        assert plans[0] == plans[1]
        assert {"keepalived", f"{tmp_path}/hosts/etc/keepalived/own"} <= {c.subject for c in plans[0].changes}
        assert direct.results[name]["states"] == ansible.results[name]["states"]
    assert direct.results[NODE]["states"][0]["health"] == "healthy"

    # one shared connection to each host, and nothing secret in any argument
    options = [{re.search(r"ControlPath=\S+", line)[0] for line in lines} for lines in (first, second)]  # type: ignore[index]
    assert options[0] == options[1]
    assert len(options[0]) == len(HOSTS)
    assert not any(secret in line for line in first + second for secret in region.secrets.values())


def test_a_host_that_only_ansible_can_reach_is_read_beside_the_others(
    region: Region, engine: fake_ssh.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(region.environment.path, "noisy", networks={}, ansible_connection="community.docker.docker")
    asked = []

    def play(_environment: object, plays: list[dict[str, Any]], **_more: object) -> runner.RunResult:
        asked.append((plays[0]["hosts"], plays[0]["tasks"][0]))
        plan = HostPlan(host="noisy", changes=()).model_dump(mode="json")
        return runner.RunResult("successful", acted={"noisy"}, results={"noisy": {"plan": plan}})

    monkeypatch.setattr(runner, "run_playbook", play)
    other = region.inventory.hosts["noisy"].model_copy(update={"connection": {"ansible_connection": "local"}})
    region.inventory.hosts["noisy"] = other
    found = looking.look(region, (NODE, "noisy"), {"keepalived"}, False, {})
    assert found.ok
    assert found.results.keys() == {NODE, "noisy"}
    assert asked == [("noisy", {"name": "Observe", "scs.core.observe": {"states": False, "services": ["keepalived"]}})]


def test_a_host_without_an_engine_is_refused(region: Region, engine: fake_ssh.Server, tmp_path: Path) -> None:
    (tmp_path / "hosts" / "docker.sock").unlink()
    found = looking.look(region, [NODE], {"keepalived"}, False, {})
    with pytest.raises(RefusedError, match=f"host {NODE}: no Docker engine answers on this host.*scs bootstrap"):
        found.raise_for("observing")


# what tells how to reach a host


ONLY_ANSIBLE = (
    {"ansible_connection": "community.docker.docker"},
    {"ansible_password": "x"},
    {"ansible_become_password": "x"},
    {"ansible_become_method": "su"},
    {"ansible_become_user": "daemon"},
    {"ansible_become_flags": "-i"},
    {"ansible_ssh_args": "-v"},
    {"ansible_ssh_common_args": "-o 'Port=1"},
    {"ansible_ssh_pass": "x"},
    {"ansible_python_interpreter": "auto"},
    {"ansible_port": "{{ port }}"},
    {"ansible_become": "perhaps"},
    {"ansible_something_new": 1},
)


def test_what_only_ansible_can_do(region: Region) -> None:
    for variables in ONLY_ANSIBLE:
        host = region.inventory.hosts[NODE].model_copy(update={"connection": variables})
        assert connection.of(region.environment, host) is None, variables


def test_a_vaulted_variable_is_left_to_ansible(region: Region) -> None:
    password = vault.password(region.environment)
    secret = VaultLib([("default", VaultSecret(password))]).encrypt("admin").decode()
    file = region.environment.path / f"inventory/host_vars/{NODE}.yml"
    block = "".join(f"  {line}\n" for line in secret.splitlines())
    file.write_text(file.read_text(encoding="utf-8") + f"ansible_user: !vault |\n{block}", encoding="utf-8")
    loaded = Region.load("testbed")
    assert loaded.inventory.hosts[NODE].connection["ansible_user"] == "admin"
    assert connection.of(loaded.environment, loaded.inventory.hosts[NODE]) is None
    assert connection.of(loaded.environment, loaded.inventory.hosts["noisy"]) is not None


def test_variables_of_the_inventory_come_before_the_environment(region: Region) -> None:
    file = region.environment.path / f"inventory/host_vars/{NODE}.yml"
    mine = {
        "ansible_port": 2222, "ansible_user": "root", "ansible_become": False, "ansible_ssh_private_key_file": "~/key",
        "ansible_ssh_common_args": "-o ProxyJump=jump.test", "ansible_ssh_extra_args": "-o 'ControlPath=/x/y z'",
        "ansible_python_interpreter": "/opt/python3",
    }  # fmt: skip
    file.write_text(file.read_text(encoding="utf-8") + yaml.safe_dump(mine), encoding="utf-8")
    loaded = Region.load("testbed")
    way = connection.of(loaded.environment, loaded.inventory.hosts[NODE])
    assert way is not None
    assert way.command == "/bin/sh -c 'exec /opt/python3 -I -'"
    words = set(way.ssh)
    home = os.environ["HOME"]
    assert {"Port=2222", 'User="root"', f'IdentityFile="{home}/key"', "ProxyJump=jump.test"} <= words
    assert "ControlPath=/x/y z" in words
    assert not [w for w in words if w.startswith('ControlPath="')]
    assert way.ssh[-1] == f"{NODE}.test"
    # an unknown host key is refused, a password never asked for
    assert {"StrictHostKeyChecking=yes", "BatchMode=yes", "GlobalKnownHostsFile=/dev/null"} <= words


def test_a_user_without_a_folder_for_sockets_connects_anew(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_SSH_CONTROL_PATH_DIR", "/dev/null/x")
    way = connection.of(region.environment, region.inventory.hosts[NODE])
    assert way is not None
    assert "ControlPath=none" in way.ssh


# commands in containers


def test_commands_of_different_containers_run_at_the_same_time(region: Region, engine: fake_ssh.Server) -> None:
    engine.answers |= {
        "/containers/keepalived/exec": {"Id": "e1"}, "/exec/e1/start": {}, "/exec/e1/json": {"ExitCode": 3},
        "/containers/create?name=execute_keepalived": {}, "/containers/execute_keepalived/start": {},
        "/containers/execute_keepalived/wait": {"StatusCode": 0},
        "/containers/execute_keepalived/logs?stdout=1&stderr=1&tail=2000": {},
    }  # fmt: skip
    commands = [
        Command(container="keepalived", argv=("show", "it")),
        Command(container="keepalived", argv=("look",), one_shot=True),
        Command(container="haproxy", argv=("true",)),
    ]
    for together in (False, True):
        engine.asked.clear()
        found = remote.execute(region, {NODE: commands, "gone": commands[:1], "cut": []}, together)
        first, second, third = found.by_host[NODE]
        assert (first.code, first.container) == (3, ContainerState.RUNNING)
        assert (second.code, second.container) == (0, None)
        assert third == Answer(code=-1, output="no /containers/haproxy/exec", container=ContainerState.ABSENT)
        assert list(found.unreachable) == ["gone"]
        bodies = dict(engine.asked)
        assert bodies["POST /containers/keepalived/exec"]["Cmd"] == ["show", "it"]
        copy = bodies["POST /containers/create?name=execute_keepalived"]
        assert copy["Cmd"] == ["look"]
        assert "Healthcheck" not in copy


def test_a_host_that_cannot_answer_commands(region: Region, engine: fake_ssh.Server) -> None:
    with pytest.raises(ScsError, match="host sudo: sudo asks for a password"):
        remote.execute(region, {"sudo": [Command(container="keepalived", argv=("true",))]})


# the transport itself


@pytest.mark.parametrize(
    ("code", "output", "said", "reply"),
    [
        (0, b'{"a": 1}\n', b"", {"answer": {"a": 1}}),
        (0, b'{not this\n{"a": 1}\nbye\n', b"a warning\n", {"answer": {"a": 1}}),
        (
            1,
            b'{"failed": true, "msg": "no\\nengine", "refused": true}\n',
            b"",
            {"failed": "no engine", "refused": True},
        ),
        (0, b'{"a": [1, 2', b"", {"failed": "the answer is incomplete"}),
        (1, b"", b"Traceback:\n  File\nOSError: no space\n", {"failed": "OSError: no space"}),
        (137, b"", b"", {"failed": "no answer, exit code 137"}),
        (255, b"", b"ssh: no\r\n  route\n", {"unreachable": "ssh: no route"}),
        (255, b'{"a": 1}\n', b"", {"unreachable": "the connection ended"}),
    ],
)
def test_replies(code: int, output: bytes, said: bytes, reply: dict[str, Any]) -> None:
    assert transport.judge("a", code, output, said) == transport.Reply("a", **reply)


def test_a_manager_without_ssh() -> None:
    with transport.Hosts() as hosts:
        hosts.ask(connection.Connection(host="a", ssh=("/nonexistent/ssh",), command="x"), "")
        assert [r.failed for r in hosts.replies()] == ["/nonexistent/ssh: No such file or directory"]


def test_a_connection_that_stays_open_does_not_delay_the_answer(tmp_path: Path) -> None:
    # as a master of ssh, which keeps standard error
    script = "cat > /dev/null; echo '{}'; sleep 30 > /dev/null & exit 0"
    way = connection.Connection(host="a", ssh=("sh", "-c", script), command="ignored")
    began = time.monotonic()
    with transport.Hosts() as hosts:
        hosts.ask(way, "")
        assert [r.failed for r in hosts.replies()] == [""]
    assert time.monotonic() - began < 10


def test_no_more_hosts_at_once_than_allowed(tmp_path: Path) -> None:
    script = f"cat > /dev/null; mkdir {tmp_path}/busy && sleep 0.05 && rmdir {tmp_path}/busy && echo '{{}}'"
    with transport.Hosts(at_once=1) as hosts:
        for number in range(5):
            hosts.ask(connection.Connection(host=f"h{number}", ssh=("sh", "-c", script), command="x"), "")
        assert [r.failed for r in hosts.replies()] == [""] * 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_what_runs(tmp_path: Path, number: signal.Signals) -> None:
    program = f"""
import signal
from scs_deploy.engine import connection, transport
# a job in the background of a shell ignores it
signal.signal(signal.SIGINT, signal.default_int_handler)
with transport.Hosts() as hosts:
    for n in range(60):
        script = "echo $$ >> {tmp_path}/pids; exec sleep 60"
        hosts.ask(connection.Connection(host=str(n), ssh=("sh", "-c", script), command=""), "")
    list(hosts.replies())
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    pids = tmp_path / "pids"
    while not pids.exists() or len(pids.read_text().split()) < 10:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in said
    assert not [p for p in pids.read_text().split() if Path(f"/proc/{p}").exists()]


def test_answers_are_worked_on_as_they_come(tmp_path: Path) -> None:
    slow = connection.Connection(
        host="slow",
        ssh=("sh", "-c", f"cat > /dev/null; until [ -e {tmp_path}/go ]; do sleep 0.02; done; echo '{{}}'"),
        command="x",
    )
    fast = connection.Connection(host="fast", ssh=("sh", "-c", "cat > /dev/null; echo '{}'"), command="x")
    threading.Timer(20, (tmp_path / "go").touch).start()
    with transport.Hosts() as hosts:
        hosts.ask(slow, "")
        hosts.ask(fast, "")
        replies = hosts.replies()
        assert next(replies).host == "fast"
        (tmp_path / "go").touch()
        assert next(replies).host == "slow"
