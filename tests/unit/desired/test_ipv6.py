# SPDX-License-Identifier: Apache-2.0
"""IPv6: refused where the region's own services cannot use it, and right in every file where they can."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.desired import resolve
from scs_deploy.environment import environment as environments
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from tests.conftest import dummy_region
from tests.support import shipped

EXTERNAL = "2001:db8:2::10"
EDGE = {"edge": {"cidr": "2001:db8:2::/64"}, "tunnel": {"cidr": "2001:db8:3::/64"}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the testbed with three nodes."""
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path / "environments"))
    for part in ("environments", "inventories"):
        shipped.environment(paths.root() / part / "testbed-ha", tmp_path / part / "testbed-ha")
    yield tmp_path


def edit(folder: Path, **keys: object) -> Path:
    """Replace keys of environment.yml; `networks` and `api` by entry."""
    file = folder / "environments/testbed-ha/environment.yml"
    data = yaml.safe_load(file.read_text())
    for key, value in keys.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) else value
    file.write_text(yaml.safe_dump(data))
    return file


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"networks": {"management": {"cidr": "fd00:1::/64"}}}, "networks.management.cidr: fd00:1::/64 is IPv6, but"),
        (
            {"networks": EDGE, "api": {"internal": {"address": EXTERNAL, "name": "i.example", "network": "edge"}}},
            f"api.internal.address: {EXTERNAL} is IPv6, but",
        ),
        ({"registry": {"address": "fd00:1::1"}}, "registry.address: fd00:1::1 is IPv6, but"),
    ],
)
def test_what_does_not_work_is_refused_in_a_line(folder: Path, keys: dict[str, object], said: str) -> None:
    file = edit(folder, **keys)
    with pytest.raises(RefusedError) as caught:
        environments.load("testbed-ha")
    assert str(caught.value).startswith(str(file))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_provider_network_with_hosts_addresses_is_ipv4(folder: Path) -> None:
    edit(folder, networks={"provider": {"cidr": "fd00:3::/64"}})
    for number in (1, 2, 3):
        file = folder / f"inventories/testbed-ha/host_vars/ha-{number}.yml"
        file.write_text(file.read_text().replace("172.30.3.", "fd00:3::"))
    with pytest.raises(RefusedError, match=r"networks\.provider\.cidr.*fd00:3::/64 is IPv6, but openvswitch_provider"):
        Region.load("testbed-ha")


@pytest.fixture
def region(folder: Path) -> Region:
    """Its users and its tunnels are on IPv6 networks."""
    edit(
        folder, networks=EDGE,
        api={"external": {"address": EXTERNAL, "name": "api.ha.scs.example", "network": "edge"}},
    )  # fmt: skip
    for number in (1, 2, 3):
        file = folder / f"inventories/testbed-ha/host_vars/ha-{number}.yml"
        data = yaml.safe_load(file.read_text())
        data["networks"]["edge"] = {"interface": "eth2", "address": f"2001:db8:2::1{number}"}
        data["networks"]["tunnel"] = {"interface": "eth3", "address": f"2001:db8:3::1{number}"}
        file.write_text(yaml.safe_dump(data))
    with (folder / "inventories/testbed-ha/group_vars/all.yml").open("a") as variables:
        variables.write("ovn_tunnel_network: tunnel\n")
    return dummy_region("testbed-ha")


def files_of(region: Region) -> dict[str, str]:
    return {f"{f.container}/{f.name}": f.content for f in resolve.resolve(region, "ha-1").files.values()}


def test_the_load_balancer_listens_on_it(region: Region) -> None:
    text = files_of(region)["haproxy/haproxy.cfg"]
    binds = [line.split()[1] for line in text.splitlines() if line.strip().startswith("bind ")]
    assert f"[{EXTERNAL}]:5000" in binds
    assert f"[{EXTERNAL}]:80" in binds
    assert all(re.fullmatch(r"(\d+(\.\d+){3}|\[[0-9a-f:]+\]):\d+", bind) for bind in binds)
    assert f"acl external dst {EXTERNAL}\n" in text


def test_the_address_moves_between_hosts(region: Region) -> None:
    text = files_of(region)["keepalived/keepalived.conf"]
    external = text[text.index("vrrp_instance external") :]
    assert f"{EXTERNAL}/128" in external
    assert "unicast_src_ip 2001:db8:2::11\n" in external
    assert "    2001:db8:2::12\n    2001:db8:2::13\n" in external
    assert "interface eth2\n" in external


def test_the_dashboard_answers_to_it(region: Region) -> None:
    line = next(s for s in files_of(region)["horizon/local_settings.py"].splitlines() if s.startswith("ALLOWED_HOSTS"))
    assert f'"[{EXTERNAL}]"' in line


def test_browsers_may_send_images_from_the_dashboard_there(region: Region) -> None:
    text = files_of(region)["glance/glance-api.conf"]
    line = next(s for s in text.splitlines() if s.startswith("allowed_origin = "))
    assert f"https://[{EXTERNAL}]" in line.partition(" = ")[2].split(",")


def test_its_certificate_has_it(region: Region) -> None:
    assert EXTERNAL in wanted_leaves(region.environment, region.catalog, region.inventory)["api-external"].names


def test_tunnels_use_theirs(region: Region) -> None:
    found = files_of(region)
    assert "ENCAP_IP=2001:db8:3::11\n" in found["ovn_controller/controller.env"]
    assert "overlay_ip_version = 6\n" in found["neutron_api/ml2_conf.ini"]


def test_no_file_has_an_address_with_a_port_but_without_brackets(region: Region) -> None:
    for name, text in files_of(region).items():
        for found in re.findall(r"(?<![\[0-9a-f:])2001:db8:[0-9a-f:]+", text):
            ip_address(found)
            assert found.count(":") == 4, f"{name}: {found}"


def test_guests_get_ipv6_as_openstack_offers_it(region: Region) -> None:
    """Subnets with SLAAC or DHCPv6, and pools of prefixes, need no setting; nothing of ours turns them off."""
    ml2, neutron = (files_of(region)[f"neutron_api/{name}"] for name in ("ml2_conf.ini", "neutron.conf"))
    assert "port_security" in ml2
    for word in ("ip_version", "ipv6", "slaac"):
        assert word not in (ml2 + neutron).replace("overlay_ip_version", "")
