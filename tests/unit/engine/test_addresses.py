# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a region's addresses and hosts is refused with file and key, before anything changes."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.engine import addresses
from scs_deploy.environment import environment
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.host import HostPlan
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase


def host(*changes: tuple[Kind, str], name: str = "h") -> HostPlan:
    made = [
        Change(
            kind=k, service=s.partition("/")[0], host=name, subject=s, reason="", phase=Phase.ROLL, impact=Impact.API
        )
        for k, s in changes
    ]
    return HostPlan(host=name, changes=tuple(made))


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([host((Kind.CREATE, "keepalived")), host((Kind.CREATE, "nova_compute"), name="compute")], True),
        ([host((Kind.CREATE, "keepalived")), host(name="i")], False),
        ([host((Kind.CREATE, "keepalived")), host((Kind.RESTART, "keepalived"))], False),
        ([host((Kind.FILE, "keepalived/keepalived.conf"))], False),
        ([host()], False),
    ],
)
def test_only_a_region_without_any_holder_has_no_address(hosts: list[HostPlan], expected: bool) -> None:
    assert addresses.unheld(hosts, {"h", "i"}, {"keepalived"}) is expected


def test_an_address_that_answers_is_refused() -> None:
    settings = environment.load("testbed-ha")
    with pytest.raises(RefusedError, match=r"api\.external\.address: 172\.30\.2\.10 already responds \(port 443\)"):
        addresses.refuse_taken(settings, (443,), lambda a, p: f"port {next(iter(p))}" if a.endswith(".10") else "")
    addresses.refuse_taken(settings, (443,), lambda _a, _p: "")


def test_answers_are_real() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        assert addresses.answers("::1", (port,)) == f"port {port}"
    assert addresses.answers("::1", (port,)) == ""
    assert addresses.answers("127.0.0.1", ()) == "ping"


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment testbed-ha in a folder of its own."""
    for kind in ("environments", "inventories"):
        shutil.copytree(paths.root() / kind / "testbed-ha", tmp_path / kind / "testbed-ha", ignore=_not_ours)
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path / "environments"))
    return tmp_path


def _not_ours(_folder: str, names: list[str]) -> list[str]:
    return [n for n in names if n in ("state", "config")]


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_the_shipped_layout_is_right(copied: Path) -> None:
    assert len(Region.load("testbed-ha").inventory.hosts) == 3


def test_an_even_number_of_voters_is_refused(copied: Path) -> None:
    edit(copied / "inventories/testbed-ha/hosts.yml", "        ha-3:\n", "")
    (copied / "inventories/testbed-ha/host_vars/ha-3.yml").unlink()
    with pytest.raises(RefusedError, match=r"group control: has 2 hosts, but mariadb needs an odd number: use 1 or 3"):
        Region.load("testbed-ha")


def test_one_host_under_two_names_is_refused(copied: Path) -> None:
    edit(copied / "inventories/testbed-ha/host_vars/ha-3.yml", "ansible_host: 172.30.2.13", "ansible_host: 172.30.2.12")
    with pytest.raises(
        RefusedError, match=r"ha-3\.yml:2: host ha-3: ansible_host 172\.30\.2\.12 is also used by host ha-2"
    ):
        Region.load("testbed-ha")


def test_an_address_twice_is_refused(copied: Path) -> None:
    edit(copied / "inventories/testbed-ha/host_vars/ha-3.yml", "address: 172.30.3.13", "address: 172.30.3.12")
    with pytest.raises(RefusedError, match=r"172\.30\.3\.12 is also used by host ha-2"):
        Region.load("testbed-ha")


def test_an_api_address_outside_its_network_is_refused(copied: Path) -> None:
    edit(copied / "environments/testbed-ha/environment.yml", "{address: 172.30.2.10,", "{address: 172.30.9.10,")
    with pytest.raises(RefusedError, match=r"api\.external\.address: 172\.30\.9\.10 is outside 172\.30\.2\.0/24"):
        Region.load("testbed-ha")
