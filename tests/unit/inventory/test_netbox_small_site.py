# SPDX-License-Identifier: Apache-2.0
"""The recorded small site: each of its special cases has a test. tests/golden has its whole inventory."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.inventory import synced
from scs_deploy.inventory.source import Found
from tests.netbox.replay import Behaviour
from tests.netbox.site import (
    ADDRESSES,
    DEVICES,
    INTERFACES,
    PREFIXES,
    ROLES,
    edit,
    host,
    problems,
    read,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "netbox" / "small.yml"
ALL = {"status": ["active", "staged", "offline", "planned"]}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    yield read(tmp_path_factory.mktemp("small"))


def text(found: Found) -> str:
    """The file that a sync writes, without the server's port."""
    assert problems(found) == []
    return synced.dump(found.document.model_copy(update={"source": "netbox"}))


def test_at_most_ten_requests(small: Found) -> None:
    assert small.requests <= 10


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_of_objects_does_not_change_the_file(tmp_path: Path, seed: int) -> None:
    """Lists, and within objects tags, VLANs, config fields, in another order."""

    def turn(_path: str, objects: list[dict[str, Any]]) -> None:
        for entity in objects:
            for key, value in list(entity.items()):
                entity[key] = entity.pop(key)
                if key in ("tags", "tagged_vlans", "mac_addresses"):
                    entity[key] = value[::-1]
            entity["custom_fields"] = dict(reversed((entity.get("custom_fields") or {}).items()))

    assert text(read(tmp_path, Behaviour(shuffle=seed, change=turn))) == GOLDEN.read_text(encoding="utf-8")


def test_small_pages_do_not_change_the_file(tmp_path: Path) -> None:
    assert text(read(tmp_path, Behaviour(maximum=60))) == GOLDEN.read_text(encoding="utf-8")


# shapes of other versions


def _older(path: str, objects: list[dict[str, Any]]) -> None:
    """NetBox 3.7 to 4.1: plain choices, `site` on prefixes, MACs on interfaces only."""
    for entity in objects:
        for key in ("status", "role", "type", "mode", "face"):
            if isinstance(entity.get(key), dict) and "value" in entity[key]:
                entity[key] = entity[key]["value"]
        if path == DEVICES:
            entity["device_role"] = entity["role"]
            del entity["role"], entity["oob_ip"]
        if path == PREFIXES:
            entity["site"] = entity["scope"] if entity.pop("scope_type") == "dcim.site" else None
            del entity["scope"], entity["scope_id"]
        if path == INTERFACES:
            entity.pop("primary_mac_address", None)
            entity.pop("mac_addresses", None)
        if path == ROLES:
            entity.pop("parent", None)


def _newer(path: str, objects: list[dict[str, Any]]) -> None:
    """NetBox 4.7 as announced: selections are {value, label}; MAC addresses are objects alone."""
    for entity in objects:
        for key, value in (entity.get("custom_fields") or {}).items():
            if key in ("network_role", "provision_state") and value is not None:
                entity["custom_fields"][key] = {"value": value, "label": value.title()}
            if key == "inventory_groups" and value is not None:
                entity["custom_fields"][key] = [{"value": v, "label": v.title()} for v in value]
        if path == INTERFACES:
            entity.pop("mac_address", None)


def test_netbox_4_7_yields_the_same_file(tmp_path: Path) -> None:
    assert text(read(tmp_path, Behaviour(change=_newer))) == GOLDEN.read_text(encoding="utf-8")


def test_netbox_3_7_yields_the_same_hosts(tmp_path: Path) -> None:
    """It has no OOB address and no nested roles, so that those of switches are named one by one."""
    ignored = ["leaf-switch", "console-server", "pdu"]
    found = read(tmp_path, Behaviour(change=_older, version="3.7"), groups={"ignore_roles": ignored})
    golden = synced.load(GOLDEN)
    assert problems(found) == []
    assert found.document.version == "3.7"
    assert {n: h.model_copy(update={"oob": None}) for n, h in golden.hosts.items()} == found.document.hosts
    assert found.document.networks == golden.networks


# which devices are hosts


def test_devices_that_are_not_hosts_are_counted_by_reason(small: Found) -> None:
    assert small.left_out == {
        "role console-server": 1,
        "role leaf-switch": 2,
        "role pdu": 1,
        "status offline": 1,
        "status planned": 1,
        "status staged": 1,
    }


def test_a_device_that_is_not_a_host_needs_no_name(small: Found) -> None:
    """The PDU of the site has none."""
    assert None not in small.document.hosts
    assert problems(small) == []


def test_a_device_in_maintenance_is_left_out(tmp_path: Path) -> None:
    """node-4 is offline and in maintenance: with its status wanted, the custom field still keeps it out."""
    found = read(tmp_path, devices={"status": ["active", "offline"]})
    assert found.left_out["maintenance=true"] == 1
    assert "testbed-node-4" not in found.document.hosts
    wanted = read(tmp_path, devices={"status": ["active", "offline"], "skip_fields": {}})
    assert "testbed-node-4" in wanted.document.hosts


def test_selection_by_tag(tmp_path: Path) -> None:
    found = read(tmp_path, devices={"tags": ["managed-by-osism", "role-manager"]})
    assert list(found.document.hosts) == ["testbed-manager"]
    found = read(tmp_path, devices={"skip_tags": ["role-manager"]})
    assert "testbed-manager" not in found.document.hosts
    assert found.left_out["tag role-manager"] == 1


def test_two_sites_with_a_device_of_the_same_name(tmp_path: Path) -> None:
    """console-0 exists in both sites; asked for one site, the other's is not seen."""
    found = read(tmp_path)
    assert found.left_out["role console-server"] == 1


def test_virtual_machines_are_hosts_on_demand(tmp_path: Path) -> None:
    """Both VMs of the cluster, one of them on a host, with a fraction of a vCPU on the other."""
    found = read(tmp_path, virtual_machines={"status": ["active", "staged"]})
    vm = found.document.hosts["testbed-vm-0"]
    assert vm.origin == "virtualization/virtual-machines/1"
    assert vm.networks["internal"].interface == "eth0.32"
    assert vm.links["eth0"].mac == "52:54:00:01:00:00"
    assert (vm.links["eth0.32"].kind, vm.links["eth0.32"].parent, vm.links["eth0.32"].vlan) == ("vlan", "eth0", 32)
    assert "testbed-vm-1" in found.document.hosts


def test_virtual_machines_are_not_read_by_default(small: Found) -> None:
    assert not [h for h in small.document.hosts if "vm" in h]


# groups


def test_groups_come_from_role_custom_field_and_parents(small: Found) -> None:
    assert host(small, "testbed-node-0").groups == (
        "ceph-mon", "ceph-osd", "chassis", "compute", "control", "network", "storage",
    )  # fmt: skip
    assert host(small, "testbed-manager").groups == ("manager", "monitoring")


def test_groups_also_come_from_tags(tmp_path: Path) -> None:
    found = read(tmp_path, groups={"tags": {"role-manager": ["monitoring", "bastion"]}})
    assert "bastion" in host(found, "testbed-manager").groups


def test_a_nested_role_inherits_its_parents_groups(tmp_path: Path) -> None:
    """hyperconverged and manager are children of node; manager has groups of its own, which are nearer."""
    roles = {"node": ["control", "network", "compute"], "manager": ["manager"]}
    found = read(tmp_path, groups={"roles": roles, "field": None})
    assert host(found, "testbed-node-0").groups == ("chassis", "compute", "control", "network")
    assert host(found, "testbed-manager").groups == ("manager",)


def test_a_role_below_an_ignored_one_is_ignored(small: Found) -> None:
    """leaf-switch is a child of switch."""
    assert small.left_out["role leaf-switch"] == 2


# settings


def test_config_contexts_are_merged_by_weight_with_the_local_one_last(small: Found) -> None:
    """global 100, region 200, site 300 name NTP servers; node-0's local region has the last word."""
    assert host(small, "testbed-node-1").settings["time_servers"] == ["192.168.16.5", "192.168.16.10"]
    assert host(small, "testbed-node-0").settings["time_servers"] == ["192.168.16.5"]


def test_a_context_of_a_role_is_overridden_by_the_local_context(small: Found) -> None:
    assert host(small, "testbed-node-0").settings["nova_cpu_mode"] == "host-passthrough"
    assert host(small, "testbed-node-1").settings["nova_cpu_mode"] == "host-model"
    assert "nova_cpu_mode" not in host(small, "testbed-manager").settings


def test_an_inactive_context_does_not_count(tmp_path: Path) -> None:
    """The inactive one of weight 900 would set the region to WRONG."""
    found = read(tmp_path, settings={"container_engine_bridge": "config_context.openstack.region"})
    assert host(found, "testbed-node-0").settings["container_engine_bridge"] == "RegionOne"


def test_a_custom_fields_wrong_value_is_a_problem_of_its_host(tmp_path: Path) -> None:
    found = read(tmp_path, settings={"nova_workers": "custom_fields.cpu_allocation_ratio"})
    assert "testbed-node-0: nova_workers is 4.5, not a whole number" in [str(p) for p in found.problems]


def test_custom_fields_of_every_type_become_settings(tmp_path: Path) -> None:
    """Decimal, integer, JSON, and unset ones, which set nothing."""
    found = read(
        tmp_path,
        settings={
            "nova_cpu_allocation_ratio": "custom_fields.cpu_allocation_ratio",
            "nova_reserved_host_memory_mb": "custom_fields.hugepages",
            "ansible_port": "custom_fields.deployment_parameters.ansible_port",
            "nova_machine_type": "custom_fields.installed_on",
        },
    )
    node = host(found, "testbed-node-0")
    assert node.settings["nova_cpu_allocation_ratio"] == 4.5
    assert node.settings["nova_reserved_host_memory_mb"] == 1024
    assert node.settings["nova_machine_type"] == "2026-01-15"
    assert node.connection == {"ansible_port": 22}
    assert "nova_cpu_allocation_ratio" not in host(found, "testbed-manager").settings


def test_netbox_settings_take_precedence_over_group_settings(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        group_settings={
            "all": {"ovn_tunnel_network": "tunnel", "openvswitch_provider_network": "public", "nova_workers": 1},
            "compute": {"nova_workers": 2, "nova_cpu_mode": "custom"},
        },
    )
    assert host(found, "testbed-node-1").settings["nova_workers"] == 2
    assert host(found, "testbed-manager").settings["nova_workers"] == 1
    assert host(found, "testbed-node-1").settings["nova_cpu_mode"] == "host-model"


# networks and addresses


def test_the_prefix_of_an_address_selects_the_network(small: Found) -> None:
    node = host(small, "testbed-node-0")
    assert {n: (p.interface, str(p.address)) for n, p in node.networks.items()} == {
        "management": ("eno1", "192.168.16.10"),
        "internal": ("bond0.32", "192.168.32.10"),
        "tunnel": ("bond0.48", "192.168.48.10"),
        "public": ("bond0.112", "198.51.100.10"),
        "storage": ("bond1.64", "192.168.64.10"),
        "storage-backend": ("bond1.80", "192.168.80.10"),
    }


def test_a_network_role_may_have_another_name_here(small: Found) -> None:
    """storage-frontend of NetBox is storage of the region."""
    assert str(small.document.networks["storage"].prefixes[0]) == "192.168.64.0/20"


@pytest.mark.parametrize("missing", ["field", "role", "both"])
def test_the_role_of_a_prefix_comes_from_field_role_or_tag(tmp_path: Path, missing: str) -> None:
    def strip(path: str, objects: list[dict[str, Any]]) -> None:
        for entity in objects if path == PREFIXES else ():
            if missing in ("field", "both"):
                entity["custom_fields"]["network_role"] = None
            if missing in ("role", "both"):
                entity["role"] = None

    assert text(read(tmp_path, Behaviour(change=strip))) == GOLDEN.read_text(encoding="utf-8")


def test_an_address_in_a_vrf_is_looked_up_in_that_vrf(small: Found) -> None:
    """Public addresses live in VRF external, whose prefixes the global table does not have."""
    assert str(host(small, "testbed-manager").networks["public"].address) == "198.51.100.5"


def test_links_have_both_ipv4_and_ipv6_addresses(small: Found) -> None:
    link = host(small, "testbed-node-0").links["bond0.112"]
    assert link.addresses == (ip_interface("198.51.100.10/24"), ip_interface("2001:db8:112::a/64"))


def test_a_network_of_the_region_may_be_ipv6(tmp_path: Path) -> None:
    from tests.netbox.site import prepare

    region = prepare(tmp_path)
    text_ = region.file.read_text(encoding="utf-8").replace("192.168.48.0/20", "'fd00:48::/64'")
    region.file.write_text(text_, encoding="utf-8")
    found = read(tmp_path)
    assert host(found, "testbed-node-0").networks["tunnel"].address == ip_address("fd00:48::a")


def test_management_is_ipv4_although_netbox_prefers_ipv6_as_primary(small: Found) -> None:
    assert host(small, "testbed-node-0").address == "192.168.16.10"


def test_reserved_deprecated_dhcp_and_slaac_addresses_are_not_configured(tmp_path: Path) -> None:
    """node-3 is staged and has reserved addresses on internal and tunnel."""
    found = read(tmp_path, devices={"status": ["active", "staged"]})
    node = found.document.hosts["testbed-node-3"]
    assert node.links["bond0.32"].addresses == ()
    assert node.networks["internal"].address is None
    reserved = read(
        tmp_path, devices={"status": ["active", "staged"]}, networks={"address_status": ["active", "reserved"]}
    )
    assert str(reserved.document.hosts["testbed-node-3"].networks["internal"].address) == "192.168.32.13"


@pytest.mark.parametrize(("status", "key"), [("dhcp", "dhcp"), ("slaac", "accept_ra")])
def test_an_assigned_dhcp_or_slaac_address_turns_the_protocol_on(tmp_path: Path, status: str, key: str) -> None:
    def change(entity: dict[str, Any]) -> None:
        entity["status"] = {"value": status, "label": status}

    wanted = {"dhcp": "192.168.48.5/20", "slaac": "fd00:48::5/64"}[status]
    found = read(tmp_path, Behaviour(change=edit(ADDRESSES, {"address": wanted}, change)))
    link = host(found, "testbed-manager").links["bond0.48"]
    assert getattr(link, key) is True
    assert ip_interface(wanted) not in link.addresses


def test_an_interface_without_address_is_attached_by_its_tag_or_vlan(tmp_path: Path) -> None:
    """node-3's bond0.112 has VLAN 112 and no address, its bond0.32 the tag net-internal."""
    found = read(tmp_path, devices={"status": ["active", "staged"]})
    node = found.document.hosts["testbed-node-3"]
    assert (node.networks["public"].interface, node.networks["public"].address) == ("bond0.112", None)
    assert (node.networks["internal"].interface, node.networks["internal"].address) == ("bond0.32", None)


def test_virtual_addresses_are_listed_but_not_on_hosts(small: Found) -> None:
    """Unassigned /32, in a VRF behind NAT, on an FHRP group."""
    listed = {str(v.address): (v.network, v.role, v.name, v.outside) for v in small.document.virtual_addresses}
    assert listed == {
        "192.168.16.9": ("management", "vrrp", "", None),
        "192.168.32.9": ("internal", "vip", "api-int.testbed.example.com", None),
        "198.51.100.254": ("public", "vip", "api.testbed.example.com", ip_address("203.0.113.10")),
    }
    carried = {a.ip for h in small.document.hosts.values() for link in h.links.values() for a in link.addresses}
    assert not carried & {v.address for v in small.document.virtual_addresses}


def test_prefixes_of_other_sites_containers_and_deprecated_ones_are_ignored(small: Found) -> None:
    listed = {str(p) for n in small.document.networks.values() for p in n.prefixes}
    assert not listed & {"10.101.0.0/20", "192.168.0.0/16", "10.66.0.0/24", "192.168.96.0/20"}


def test_loopback_addresses_need_no_prefix(small: Found) -> None:
    link = host(small, "testbed-node-0").links["lo0"]
    assert (link.kind, link.addresses) == ("dummy", (ip_interface("10.255.0.10/32"),))


# links


def test_bonds_have_their_members_and_mtu(small: Found) -> None:
    node = host(small, "testbed-node-0")
    assert (node.links["bond0"].kind, node.links["bond0"].members) == ("bond", ("enp1s0f0", "enp1s0f1"))
    assert (node.links["bond1"].mtu, node.links["bond1"].mode) == (9000, "802.3ad")
    assert "bond1" not in host(small, "testbed-manager").links


def test_vlans_have_their_parent_id_and_own_mtu(small: Found) -> None:
    link = host(small, "testbed-node-0").links["bond0.32"]
    assert (link.kind, link.parent, link.vlan, link.mtu) == ("vlan", "bond0", 32, 1500)


def test_a_vlan_interface_without_a_vlan_in_netbox_uses_the_id_in_its_name(tmp_path: Path) -> None:
    def forget(entity: dict[str, Any]) -> None:
        entity["untagged_vlan"] = None

    change = edit(INTERFACES, {"device": "testbed-node-0", "name": "bond0.48"}, forget)
    assert text(read(tmp_path, Behaviour(change=change))) == GOLDEN.read_text(encoding="utf-8")


def test_a_disabled_port_stays_down(small: Found) -> None:
    assert host(small, "testbed-node-0").links["eno2"].enabled is False


def test_the_management_controller_becomes_the_oob_address_and_not_a_link(small: Found) -> None:
    node = host(small, "testbed-node-0")
    assert "BMC" not in node.links
    assert node.oob == ip_address("10.10.0.10")


def test_macs_are_lower_case(tmp_path: Path) -> None:
    def upper(entity: dict[str, Any]) -> None:
        entity["mac_address"] = "AA:BB:CC:00:01:02"

    found = read(tmp_path, Behaviour(change=edit(INTERFACES, {"device": "testbed-node-0", "name": "eno1"}, upper)))
    assert host(found, "testbed-node-0").links["eno1"].mac == "aa:bb:cc:00:01:02"


def test_a_connected_cable_names_the_neighbour(small: Found) -> None:
    assert host(small, "testbed-node-0").links["enp1s0f0"].neighbour == "testbed-leaf-0:Ethernet4"
    assert host(small, "testbed-node-0").links["enp2s0f0"].neighbour is None


def test_a_planned_cable_names_no_neighbour(tmp_path: Path) -> None:
    found = read(tmp_path, devices={"status": ["active", "staged"]})
    assert found.document.hosts["testbed-node-3"].links["enp1s0f0"].neighbour is None


def test_a_bridge_has_its_ports(tmp_path: Path) -> None:
    def bridge(path: str, objects: list[dict[str, Any]]) -> None:
        for entity in objects if path == INTERFACES else ():
            if entity["device"]["name"] == "testbed-manager" and entity["name"] == "lo0":
                entity.update(name="br0", type={"value": "bridge", "label": "Bridge"})
                number = entity["id"]
        for entity in objects if path == INTERFACES else ():
            if entity["device"]["name"] == "testbed-manager" and entity["name"] == "eno2":
                entity.update(bridge={"id": number, "name": "br0"}, enabled=True)

    found = read(tmp_path, Behaviour(change=bridge))
    assert host(found, "testbed-manager").links["br0"].members == ("eno2",)


def test_the_gateway_is_the_address_of_the_prefixs_gateway_device(small: Found) -> None:
    node = host(small, "testbed-node-0")
    assert node.links["eno1"].gateway4 == ip_address("192.168.16.20")
    assert [n for n, link in node.links.items() if link.gateway4 or link.gateway6] == ["eno1"]


def test_name_servers_come_from_the_config_context(small: Found) -> None:
    assert host(small, "testbed-node-0").links["eno1"].nameservers == (ip_address("192.168.16.5"),)


# further facts


def test_disks_come_from_a_json_custom_field(small: Found) -> None:
    disks = host(small, "testbed-node-0").disks
    assert [(d.device, d.device_class) for d in disks] == [(f"/dev/nvme{i}n1", "nvme") for i in (1, 2, 3, 4)]
    assert host(small, "testbed-manager").disks == ()


def test_the_zone_is_built_from_site_and_rack(small: Found) -> None:
    assert {h.zone for h in small.document.hosts.values()} == {"testbed-A1"}


def test_the_rack_is_a_failure_domain_whatever_its_name(tmp_path: Path, small: Found) -> None:
    assert {h.rack for h in small.document.hosts.values()} == {"A1"}

    def rename(entity: dict[str, Any]) -> None:
        entity["rack"] = {**entity["rack"], "name": "Row 3 / Rack 7"}

    found = read(tmp_path, Behaviour(change=edit(DEVICES, {"name": "testbed-node-0"}, rename)))
    assert host(found, "testbed-node-0").rack == "Row-3-Rack-7"


def test_the_time_of_the_last_change_is_recorded(tmp_path: Path, small: Found) -> None:
    def touch(entity: dict[str, Any]) -> None:
        entity["last_updated"] = "2027-01-01T00:00:00Z"

    found = read(tmp_path, Behaviour(change=edit(DEVICES, {"name": "testbed-node-0"}, touch)))
    assert found.document.changed == "2027-01-01T00:00:00Z"
    assert small.document.changed < "2027"
    assert text(found).replace("2027-01-01T00:00:00Z", small.document.changed) == text(small)


def test_unicode_survives(tmp_path: Path) -> None:
    """operator_notes of node-0 has umlauts and line breaks."""
    found = read(tmp_path, settings={"container_engine_bridge": "custom_fields.operator_notes"})
    value = host(found, "testbed-node-0").settings["container_engine_bridge"]
    assert value == "first line\nsecond line with ünïcödé"
    file = tmp_path / "written.yml"
    synced.write(found.document, file)
    assert synced.load(file).hosts["testbed-node-0"].settings["container_engine_bridge"] == value
