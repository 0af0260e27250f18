# SPDX-License-Identifier: Apache-2.0
"""Check the resources that a server needs: image, flavor, routed network, security group."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Network
from typing import Any

from scs_deploy.validate import measure
from scs_deploy.validate.checks.storage import expect_writes
from scs_deploy.validate.guest_image import PORT
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CheckFailedError, Outcome, check

TENANT_CIDR = "192.168.240.0/24"
EXTERNAL_NAME = "public"
PHYSICAL_NETWORK = "physnet1"


@check("image", requires=("token",), budget=60.0, creates=True)
def image(region: Region) -> Outcome:
    """An uploaded image becomes active with its content intact."""
    expect_writes(region, "glance_store")
    path = region.guest()
    content = path.read_bytes()
    properties = {"hw_disk_bus": "virtio", "hw_vif_model": "virtio"}

    def upload() -> None:
        made = region.cloud.image.create_image(
            region.name, filename=str(path), disk_format="qcow2", container_format="bare", visibility="private",
            tags=[region.name], wait=True, timeout=300, allow_duplicates=True, **properties,
        )  # fmt: skip
        region.made["image"] = made

    samples = [measure.seconds(upload)]
    made = region.cloud.image.get_image(region.made["image"].id)
    if made.status != "active":
        raise CheckFailedError(f"image {made.name} is {made.status}, not active")
    if made.hash_algo and made.hash_value != hashlib.new(made.hash_algo, content).hexdigest():
        raise CheckFailedError(f"image {made.name}: {made.hash_algo} differs from the uploaded file")
    if made.direct_url or made.locations:
        raise CheckFailedError(f"image {made.name}: users see where its data is: {made.direct_url or made.locations}")
    return Outcome(f"{len(content) / 1e6:.1f} MB", samples)


@check("flavor", requires=("token",), budget=10.0, creates=True)
def flavor(region: Region) -> Outcome:
    """A flavor is created."""

    def create() -> None:
        region.made["flavor"] = region.cloud.compute.create_flavor(name=region.name, ram=256, vcpus=1, disk=1)

    return Outcome("256 MB, 1 vCPU, 1 GB", [measure.seconds(create)])


@check("network", requires=("token",), budget=60.0, creates=True)
def network(region: Region) -> Outcome:
    """A network with a subnet is routed to the external network."""
    api = region.cloud.network
    name = region.name
    external = _external(region)

    def create() -> None:
        net = api.create_network(name=name)
        region.made["network"] = net
        api.set_tags(net, [name])
        subnet = api.create_subnet(name=name, network_id=net.id, ip_version=4, cidr=TENANT_CIDR)
        router = api.create_router(name=name, external_gateway_info={"network_id": external.id})
        api.set_tags(router, [name])
        api.add_interface_to_router(router, subnet.id)
        region.made["router"] = router

    samples = [measure.seconds(create)]
    router = api.get_router(region.made["router"].id)
    if router.status != "ACTIVE":
        raise CheckFailedError(f"router {name} is {router.status}, not ACTIVE")
    gateway = router.external_gateway_info["external_fixed_ips"]
    if not gateway:
        raise CheckFailedError(f"router {name} got no address on network {external.name}")
    return Outcome(f"external network {external.name}, router {gateway[0]['ip_address']}", samples)


def _external(region: Region) -> Any:
    """The region's external network. On a testbed without one, a temporary network is created."""
    api = region.cloud.network
    existing = sorted(api.networks(is_router_external=True), key=lambda n: (n.name != EXTERNAL_NAME, n.name))
    if existing:
        region.made["external"] = existing[0]
        return existing[0]
    settings = region.environment.settings
    provider = settings.networks.get("provider")
    if settings.testbed is None or provider is None or not isinstance(provider.cidr, IPv4Network):
        raise CheckFailedError("no external network: create one (openstack network create --external ...)")
    net = api.create_network(
        name=EXTERNAL_NAME, description=f"{region.name}: removed after the validation", is_router_external=True,
        provider_network_type="flat", provider_physical_network=PHYSICAL_NETWORK,
    )  # fmt: skip
    api.set_tags(net, [region.name])
    gateway, start, end = pool(provider.cidr)
    api.create_subnet(
        name=f"{region.name}-public", network_id=net.id, ip_version=4, cidr=str(provider.cidr), gateway_ip=gateway,
        is_dhcp_enabled=False, allocation_pools=[{"start": start, "end": end}],
    )  # fmt: skip
    region.made["external"] = net
    return net


def pool(cidr: IPv4Network) -> tuple[str, str, str]:
    """Gateway, first and last floating IP of a testbed's provider network. Neutron manages its upper half."""
    half = cidr.num_addresses // 2
    return str(cidr[1]), str(cidr[half]), str(cidr[-6])


@check("security-group", requires=("token",), budget=10.0, creates=True)
def security_group(region: Region) -> Outcome:
    """A security group that allows ICMP and the guest's TCP port is created."""
    api = region.cloud.network
    wanted: list[dict[str, Any]] = [
        {"protocol": "icmp"},
        {"protocol": "tcp", "port_range_min": PORT, "port_range_max": PORT},
    ]

    def create() -> None:
        group = api.create_security_group(name=region.name)
        region.made["security_group"] = group
        api.set_tags(group, [region.name])
        for rule in wanted:
            api.create_security_group_rule(security_group_id=group.id, direction="ingress", ethertype="IPv4", **rule)

    samples = [measure.seconds(create)]
    rules = [
        r for r in api.security_group_rules(security_group_id=region.made["security_group"].id)
        if r.direction == "ingress" and r.protocol in ("icmp", "tcp")
    ]  # fmt: skip
    if len(rules) != len(wanted):
        raise CheckFailedError(f"security group {region.name} has {len(rules)} ingress rules, not {len(wanted)}")
    return Outcome(f"{len(rules)} rules", samples)
