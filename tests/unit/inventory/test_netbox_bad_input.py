# SPDX-License-Identifier: Apache-2.0
"""All problems in NetBox or netbox.yml are reported at once, with host and reason. Nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.inventory import refresh
from scs_deploy.inventory.checks import ProblemsError
from scs_deploy.inventory.netbox import mapping
from tests.netbox.replay import Behaviour, Replay
from tests.netbox.site import (
    ADDRESSES,
    DEVICES,
    INTERFACES,
    PREFIXES,
    ROLES,
    Change,
    edit,
    prepare,
    problems,
    read,
)

NODE0 = {"name": "testbed-node-0"}


def setting(**values: Any) -> Any:
    """A change of an object's keys; `custom_fields` adds to those that are there."""

    def apply(entity: dict[str, Any]) -> None:
        fields = values.get("custom_fields")
        entity.update({k: v for k, v in values.items() if k != "custom_fields"})
        if fields:
            entity["custom_fields"].update(fields)

    return apply


def port(device: str, name: str) -> dict[str, Any]:
    return {"device": device, "name": name}


CASES: list[tuple[str, Change, list[str]]] = [
    (
        "a host without a name",
        edit(DEVICES, NODE0, setting(name=None)),
        ["device 7 (no name): has no name"],
    ),
    (
        "two hosts with the same name",
        edit(DEVICES, {"name": "testbed-node-1"}, setting(name="testbed-node-0")),
        ["testbed-node-0: duplicate host name: dcim/devices/7, dcim/devices/8"],
    ),
    (
        "names that differ by case alone",
        edit(DEVICES, {"name": "testbed-node-1"}, setting(name="Testbed-Node-0")),
        ["testbed-node-0: differs from Testbed-Node-0 in upper and lower case only"],
    ),
    (
        "a name that is not a host name",
        edit(DEVICES, NODE0, setting(name="node 0")),
        ["node 0: is not a valid host name (use letters, digits, dashes)"],
    ),
    (
        "a role that is mapped to nothing",
        edit(DEVICES, NODE0, setting(role={"id": 99, "slug": "hypervisor", "name": "hypervisor"})),
        ["testbed-node-0: unknown role 'hypervisor': add it to groups.roles or groups.ignore_roles"],
    ),
    (
        "a host without an address",
        edit(ADDRESSES, {"address": "192.168.16.10/20"}, setting(assigned_object_type=None, assigned_object_id=None)),
        ["testbed-node-0: has no address on network management (its addresses: "],
    ),
    (
        "an address in no prefix",
        edit(ADDRESSES, {"address": "192.168.48.10/20"}, setting(address="172.16.0.10/20")),
        [
            "testbed-node-0 bond0.48: address 172.16.0.10/20 is not in any NetBox prefix",
            "testbed-node-0: has no address on network tunnel, which ovn_tunnel_network names",
        ],
    ),
    (
        "an address with another length than its prefix",
        edit(ADDRESSES, {"address": "192.168.48.10/20"}, setting(address="192.168.48.10/24")),
        ["testbed-node-0 bond0.48: the length of address 192.168.48.10/24 differs from its prefix 192.168.48.0/20"],
    ),
    (
        "an address twice",
        edit(ADDRESSES, {"address": "192.168.48.11/20"}, setting(address="192.168.48.10/20")),
        ["192.168.48.10 is also used by host testbed-node-0 (links.bond0.48)"],
    ),
    (
        "a virtual address that a host carries",
        edit(ADDRESSES, {"address": "192.168.32.10/20"}, setting(address="192.168.32.9/20")),
        [
            "testbed-node-0: address 192.168.32.9 is also a virtual address (vip)",
            "testbed-node-0: networks.internal.address 192.168.32.9 is also used by api.internal.address",
        ],
    ),
    (
        "a MAC twice",
        edit(INTERFACES, port("testbed-node-1", "eno1"), setting(mac_address="52:54:00:00:01:01")),
        ["52:54:00:00:01:01 is also used by host testbed-node-0 (links.eno1)"],
    ),
    (
        "an MTU larger than the parent's",
        edit(INTERFACES, port("testbed-node-0", "bond0.48"), setting(mtu=9216)),
        ["testbed-node-0: links.bond0.48.mtu: 9216 is larger than the 9100 of its parent bond0"],
    ),
    (
        "an MTU smaller than the network needs",
        edit(INTERFACES, port("testbed-node-0", "bond0.48"), setting(mtu=1500)),
        ["testbed-node-0: links.bond0.48.mtu: 1500 is less than the 9100 of network tunnel"],
    ),
    (
        "a bond whose member has another MTU",
        edit(INTERFACES, port("testbed-node-0", "enp1s0f0"), setting(mtu=1500)),
        ["testbed-node-0: links.bond0.mtu: 9100 differs from the 1500 of its member enp1s0f0"],
    ),
    (
        "a host of the tunnel group off the tunnel network",
        edit(ADDRESSES, {"address": "192.168.48.12/20"}, setting(status={"value": "deprecated"})),
        ["testbed-node-2: has no address on network tunnel, which ovn_tunnel_network names"],
    ),
    (
        "a host that holds API addresses off their network",
        edit(ADDRESSES, {"address": "198.51.100.12/24"}, setting(status={"value": "reserved"})),
        ["testbed-node-2: has no address on network public, which keepalived (API address 198.51.100.254) requires"],
    ),
    (
        "a network that netbox.yml requires of a group",
        edit(ADDRESSES, {"address": "192.168.80.12/20"}, setting(status={"value": "reserved"})),
        ["testbed-node-2: has no address on network storage-backend, which netbox.yml (networks.required.storage)"],
    ),
    (
        "an even number of voters",
        edit(DEVICES, {"name": "testbed-node-2"}, setting(status={"value": "offline"})),
        ["group control: has 2 hosts, but mariadb needs an odd number: use 1 or 3"],
    ),
    (
        "a VLAN whose parent is another device's",
        edit(INTERFACES, port("testbed-node-0", "bond0.48"), setting(parent={"id": 1})),
        ["testbed-node-0 bond0.48: its parent is not an interface of this host"],
    ),
    (
        "two addresses on one network",
        edit(ADDRESSES, {"address": "192.168.80.10/20"}, setting(address="192.168.64.110/20")),
        ["testbed-node-0: has several addresses on network storage: 192.168.64.10 (bond1.64), 192.168.64.110"],
    ),
    (
        "disks in another form",
        edit(DEVICES, NODE0, setting(custom_fields={"ceph_osd_devices": ["nvme1n1"]})),
        ["testbed-node-0: custom_fields.ceph_osd_devices: must be a list of {device, class}"],
    ),
    (
        "an interface name that Linux does not take",
        edit(INTERFACES, port("testbed-node-0", "eno2"), setting(name="Onboard Ethernet 2")),
        ["testbed-node-0: links.Onboard Ethernet 2: invalid link name"],
    ),
    (
        "a gateway device without address in the prefix",
        edit(ADDRESSES, {"address": "192.168.16.20/20"}, setting(assigned_object_type=None, assigned_object_id=None)),
        ["prefix 192.168.16.0/20: its gateway_device testbed-leaf-0 has no address in it"],
    ),
    (
        "a zone whose rack is not known",
        edit(DEVICES, NODE0, setting(rack=None)),
        ["testbed-node-0: has no rack, but zone is '{site}-{rack}'"],
    ),
    (
        "a virtual address that environment.yml has otherwise",
        edit(ADDRESSES, {"address": "192.168.32.9/32"}, setting(address="192.168.32.8/32")),
        ["api.internal.address: is 192.168.32.9 in environment.yml, but 192.168.32.8 in NetBox"],
    ),
    (
        "a network whose prefixes are others",
        edit(PREFIXES, {"prefix": "192.168.48.0/20"}, setting(prefix="172.31.48.0/20")),
        ["network tunnel: cidr is 192.168.48.0/20 in environment.yml, but 172.31.48.0/20 in NetBox"],
    ),
]


@pytest.mark.parametrize(("change", "said"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_bad_input_is_reported_with_host_and_reason(tmp_path: Path, change: Change, said: list[str]) -> None:
    told = problems(read(tmp_path, Behaviour(change=change)))
    for line in said:
        assert [t for t in told if line in t], f"'{line}' is not in {told}"


def test_all_problems_come_in_one_report_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [c[1] for c in CASES if c[0] in ("a MAC twice", "an address in no prefix", "an even number of voters")]

    def all_of_them(path: str, objects: list[dict[str, Any]]) -> None:
        for change in changes:
            change(path, objects)

    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    with Replay() as server:
        prepare(tmp_path, url=server.url)
        refresh.sync("small", "netbox", lambda _d, _t: None)
    before = (tmp_path / "small" / "inventory.yml").read_bytes()
    with Replay(Behaviour(change=all_of_them)) as server:
        prepare(tmp_path, url=server.url)
        with pytest.raises(ProblemsError, match="nothing was written") as error:
            refresh.sync("small", "netbox", lambda _d, _t: None)
    assert len(error.value.problems) >= 4
    assert error.value.exit_code == 2
    for part in ("52:54:00:00:01:01", "172.16.0.10/20", "has 2 hosts"):
        assert part in str(error.value)
    assert (tmp_path / "small" / "inventory.yml").read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "small").iterdir()) == [
        "environment.yml", "inventory.yml", "netbox.yml", "state", "token",
    ]  # fmt: skip


def test_a_group_that_the_catalog_needs_is_empty(tmp_path: Path) -> None:
    told = problems(read(tmp_path, groups={"roles": {"manager": ["manager"], "hyperconverged": []}, "field": None}))
    assert [t for t in told if t.startswith("group control: has no hosts, but ")]
    assert [t for t in told if t.startswith("group compute: has no hosts, but ")]


def test_settings_that_no_service_declares(tmp_path: Path) -> None:
    told = problems(read(tmp_path, settings={"nova_cpu_mod": "config_context.kolla.nova_cpu_mode"}))
    assert told == [
        "testbed-node-0 and 2 more: nova_cpu_mod: unknown variable, no service declares it, did you mean nova_cpu_mode?"
    ]


# filters that NetBox would ignore


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"devices": {"filters": {"device_role": "manager"}}},
            r"dcim/devices has no filter 'device_role'.*did you mean",
        ),
        ({"devices": {"filters": {"no_such_filter": 1}}}, "dcim/devices has no filter 'no_such_filter'"),
        ({"addresses": {"site": "testbed"}}, "ipam/ip-addresses has no filter 'site'; NetBox would ignore it"),
        ({"devices": {"filters": {"limit": 5}}}, "has no filter 'limit'"),
        ({"virtual_machines": {"filters": {"rack": "A1"}}}, "virtualization/virtual-machines has no filter 'rack'"),
    ],
)
def test_filters_that_netbox_would_ignore_are_refused_before_the_first_request(
    tmp_path: Path, keys: dict[str, Any], said: str
) -> None:
    region = prepare(tmp_path, **keys)
    with pytest.raises(RefusedError, match=said) as error:
        mapping.load(region)
    assert f"{region.path / 'netbox.yml'}:" in str(error.value)


@pytest.mark.parametrize("name", ["tenant", "name__isw", "tag", "region", "cf_maintenance", "status__n", "location_id"])
def test_filters_that_netbox_supports_are_accepted(tmp_path: Path, name: str) -> None:
    assert mapping.load(prepare(tmp_path, devices={"filters": {name: "x"}})).devices.filters == {name: "x"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cf_nosuch", "custom field 'nosuch' does not exist"),
        ("cf_deployment_parameters", "contains JSON or objects"),
        ("cf_allowed_prefixes", "contains JSON or objects"),
    ],
)
def test_ignored_custom_field_filters_are_detected(name: str, said: str) -> None:
    from scs_deploy.inventory.netbox import filters
    from tests.netbox.replay import READ_ONLY, multiset, recording

    listed = recording().lists["/api/dcim/devices/", multiset([("site", "testbed")]), f"Bearer {READ_ONLY}"]
    told = filters.check_fields([name], [o["custom_fields"] for o in listed])
    assert len(told) == 1
    assert said in told[0]
    assert (
        filters.check_fields(["cf_hugepages__gte", "cf_inventory_groups"], [o["custom_fields"] for o in listed]) == []
    )


def test_objects_of_another_site_show_an_ignored_filter(tmp_path: Path) -> None:
    change = edit(DEVICES, NODE0, setting(site={"id": 2, "slug": "scale", "name": "scale"}))
    with pytest.raises(RefusedError, match="also sent objects of site scale: it ignored a filter"):
        read(tmp_path, Behaviour(change=change))


def test_a_token_without_permission_for_some_interfaces_is_detected(tmp_path: Path) -> None:
    def lose(path: str, objects: list[dict[str, Any]]) -> None:
        if path == INTERFACES:
            objects[:] = [o for o in objects if o["name"] != "bond0.48"]

    with pytest.raises(RefusedError, match=r"testbed-manager has 10 interfaces, but NetBox sent 9; 7 device"):
        read(tmp_path, Behaviour(change=lose))


# a token without permission to view everything


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (DEVICES, "sent no device for site testbed"),
        (
            INTERFACES,
            "testbed-[a-z0-9-]+ has [0-9]+ interfaces, but NetBox sent 0; 9 device.*every dcim.interface",
        ),
        (ADDRESSES, "sent no address.*ipam.ipaddress"),
        (PREFIXES, "sent no prefix"),
        (ROLES, "sent no device role"),
    ],
)
def test_a_token_without_permission_for_a_kind_is_detected(tmp_path: Path, path: str, said: str) -> None:
    """NetBox silently omits objects without permission."""
    with pytest.raises(RefusedError, match=said):
        read(tmp_path, Behaviour(hide=frozenset({path})))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"sites": []}, "sites: .*at least 1 item"),
        ({"sites": None}, "sites: is required"),
        ({"url": "netbox.example.com"}, "url: "),
        ({"url": "http://netbox.example.com"}, "http would send the token unencrypted"),
        ({"zone": "{room}"}, "supports only {site}, {location} and {rack}"),
        ({"settings": {"nova_workers": "hugepages"}}, "must start with config_context. or custom_fields."),
        ({"networks": {"roles": {"oob": "nowhere"}}}, "networks: network 'nowhere' is not defined in"),
        ({"sitse": ["a"]}, "sitse: unknown key"),
    ],
)
def test_errors_of_netbox_yml_name_file_and_key(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    region = prepare(tmp_path)
    import yaml

    file = region.path / "netbox.yml"
    data = {**yaml.safe_load(file.read_text()), **keys}
    file.write_text(yaml.safe_dump({k: v for k, v in data.items() if v is not None}))
    with pytest.raises(RefusedError, match=said) as error:
        mapping.load(region)
    assert str(file) in str(error.value)


def test_a_missing_token_says_where_it_belongs(tmp_path: Path) -> None:
    region = prepare(tmp_path, token="")
    with pytest.raises(RefusedError, match=r"no NetBox token \(run scs secrets edit"):
        mapping.token(region, mapping.load(region))
    (region.path / "token").unlink()
    with pytest.raises(RefusedError, match="token: cannot be read"):
        mapping.token(region, mapping.load(region))


def test_the_token_comes_from_the_regions_secrets_too(tmp_path: Path) -> None:
    from scs_deploy.secrets import store, vault

    region = prepare(tmp_path, token_file=None)
    (region.path / "vault_password").write_text("test\n")
    with vault.locked(region):
        vault.save(region, region.secrets_file, store.dump({"netbox_token": "t" * 40}))
    assert mapping.token(region, mapping.load(region)) == "t" * 40
    assert b"tttt" not in region.secrets_file.read_bytes()
