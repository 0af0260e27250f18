# SPDX-License-Identifier: Apache-2.0
"""The NetBox data that scs reads, in one form for all versions from 3.7 on.

Choices are `{value, label}` or only the value; a role is in `role` or (3.5) `device_role`; a prefix has `scope` or
(before 4.2) `site`; a MAC address is in `mac_address` or (since 4.2) also in `primary_mac_address`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface, ip_network
from typing import Any

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.inventory.netbox import filters, mapping
from scs_deploy.inventory.netbox.client import Listing, Netbox, Params

IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Device:
    """A device or virtual machine."""

    id: int
    virtual: bool
    name: str | None
    role: str
    status: str
    site: str
    location: str
    rack: str
    tags: frozenset[str]
    fields: Mapping[str, Any]
    context: Mapping[str, Any]
    """all applicable config contexts and the local one, merged by NetBox by weight"""
    primary: frozenset[str]
    """primary addresses, without prefix length"""
    oob: str | None

    @property
    def title(self) -> str:
        """Its name in messages."""
        return self.name or f"{'virtual machine' if self.virtual else 'device'} {self.id} (no name)"

    @property
    def origin(self) -> str:
        """Its path in NetBox's API."""
        return f"{'virtualization/virtual-machines' if self.virtual else 'dcim/devices'}/{self.id}"


@dataclass(frozen=True, slots=True)
class Port:
    """A network interface of a device or virtual machine."""

    id: int
    device: int
    virtual: bool
    """whether it belongs to a virtual machine"""
    name: str
    type: str
    """`lag`, `bridge`, `virtual`, or a physical type; '' on virtual machines"""
    enabled: bool
    mgmt_only: bool
    mtu: int | None
    mac: str | None
    lag: int | None
    parent: int | None
    bridge: int | None
    vlan: int | None
    """VID of the untagged VLAN"""
    tags: frozenset[str]
    neighbour: str | None


@dataclass(frozen=True, slots=True)
class Address:
    """An address with its prefix length."""

    id: int
    address: IPInterface
    status: str
    role: str
    vrf: int | None
    name: str
    """DNS name"""
    port: int | None
    """id of the interface that has it"""
    virtual: bool
    fhrp: bool
    """whether it belongs to a first-hop redundancy group"""
    inside: str
    """address that NAT translates this one to"""


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prefix."""

    network: IPNetwork
    status: str
    role: str
    tags: frozenset[str]
    fields: Mapping[str, Any]
    vrf: int | None
    vlan: int | None
    site: str
    """'' for the scopes region and location, and without a scope"""


@dataclass(frozen=True)
class Snapshot:
    """All data read from NetBox."""

    devices: tuple[Device, ...]
    ports: tuple[Port, ...]
    addresses: tuple[Address, ...]
    prefixes: tuple[Prefix, ...]
    parents: Mapping[str, str]
    """device role: its parent"""
    version: str
    changed: str
    """time of the last change to any object read, in NetBox's format"""


def listings(chosen: mapping.Mapping) -> dict[str, Listing]:
    """The lists to read: five, and two more for virtual machines."""
    sites = tuple(("site", s) for s in chosen.sites)
    lists = {
        # the largest list first: its pages load while the small lists arrive
        "interfaces": Listing("dcim/interfaces", sites, recheck=True),
        "devices": Listing("dcim/devices", (*sites, *_params(chosen.devices.filters)), recheck=True),
        "addresses": Listing("ipam/ip-addresses", _params(chosen.addresses), recheck=True),
        "prefixes": Listing("ipam/prefixes"),
        "roles": Listing("dcim/device-roles"),
    }
    if chosen.virtual_machines is not None:
        lists["machines"] = Listing(
            "virtualization/virtual-machines", (*sites, *_params(chosen.virtual_machines.filters)), recheck=True
        )
        # its site filter does not match machines whose site comes from their cluster
        lists["machine_interfaces"] = Listing("virtualization/interfaces", recheck=True)
    return lists


def _params(chosen: mapping.Filter) -> Params:
    params: list[tuple[str, str]] = []
    for name, value in chosen.items():
        several = value if isinstance(value, tuple) else (value,)
        params += [(name, str(one).lower() if isinstance(one, bool) else str(one)) for one in several]
    return tuple(params)


def read(netbox: Netbox, chosen: mapping.Mapping, progress: Callable[[int, int], None]) -> Snapshot:
    """Read all lists.

    :raises RefusedError: a wrong token, filter or site, missing permissions, or NetBox changed meanwhile
    :raises ScsError: NetBox does not respond, or its response is invalid
    """
    raw = netbox.read(listings(chosen), progress)
    try:
        result = snapshot(raw, netbox.version)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ScsError(
            f"{netbox.url}: an object does not have the form of NetBox 3.7 to 4.7: {type(error).__name__} {error}"
        ) from None
    _check(result, raw, chosen, netbox.url)
    return result


def snapshot(raw: Mapping[str, list[dict[str, Any]]], version: str) -> Snapshot:
    """Convert the lists of `listings`.

    :raises KeyError, TypeError, ValueError: an object does not have NetBox's form
    """
    # nested parents have an id but no slug
    slugs = {o["id"]: o["slug"] for o in raw["roles"]}
    changed = max((o.get("last_updated") or "" for objects in raw.values() for o in objects), default="")
    return Snapshot(
        devices=tuple(
            [_device(o, False) for o in raw["devices"]] + [_device(o, True) for o in raw.get("machines", ())]
        ),
        ports=tuple(
            [_port(o, False) for o in raw["interfaces"]] + [_port(o, True) for o in raw.get("machine_interfaces", ())]
        ),
        addresses=tuple(_address(o) for o in raw["addresses"]),
        prefixes=tuple(_prefix(o) for o in raw["prefixes"]),
        parents={o["slug"]: slugs[o["parent"]["id"]] for o in raw["roles"] if o.get("parent")},
        version=version,
        changed=changed,
    )


def _check(snapshot: Snapshot, raw: Mapping[str, list[dict[str, Any]]], chosen: mapping.Mapping, url: str) -> None:
    """Check that NetBox applied all filters and that the token can view all objects."""
    foreign = sorted({d.site for d in snapshot.devices} - {"", *chosen.sites})
    if foreign:
        raise RefusedError(
            f"{url}: NetBox also sent objects of site {foreign[0]}: it ignored a filter", "check netbox.yml"
        )
    # missing object permissions do not cause an error: NetBox omits the objects
    for name, what in (("devices", "device"), ("roles", "device role"), ("prefixes", "prefix")):
        if not raw[name]:
            raise RefusedError(
                f"{url}: NetBox sent no {what} for site {', '.join(chosen.sites)}",
                "check the view permissions of the token's user; NetBox omits objects without permission",
            )
    if any(d.primary for d in snapshot.devices) and not snapshot.addresses:
        raise RefusedError(f"{url}: NetBox sent no address", "give the token's user view permission for ipam.ipaddress")
    # interface_count does not depend on permissions
    announced = {o["id"]: o["interface_count"] for o in raw["devices"] if isinstance(o.get("interface_count"), int)}
    seen = Counter(p.device for p in snapshot.ports if not p.virtual)
    short = {d: n for d, n in announced.items() if seen[d] != n}
    if short:
        first = next(d for d in snapshot.devices if d.id in short and not d.virtual)
        raise RefusedError(
            f"{url}: {first.title} has {short[first.id]} interfaces, but NetBox sent {seen[first.id]}; "
            f"{len(short)} device(s) are incomplete",
            "give the token's user view permission for every dcim.interface; if NetBox changed meanwhile, run it again",
        )
    pairs = [("devices", chosen.devices.filters)]
    if chosen.virtual_machines is not None:
        pairs.append(("machines", chosen.virtual_machines.filters))
    for name, names in pairs:
        for problem in filters.check_fields(names, (o.get("custom_fields") or {} for o in raw[name])):
            raise RefusedError(f"netbox.yml: {name}: {problem}")


def choice(value: Any) -> str:
    """The value of a choice field, or '' if unset."""
    chosen = value.get("value") if isinstance(value, dict) else value
    return "" if chosen is None else str(chosen)


def plain(value: Any) -> Any:
    """A custom field's value. Selections are `{value, label}` since 4.7."""
    if isinstance(value, dict) and value.keys() == {"value", "label"}:
        return value["value"]
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


def _slug(value: Any) -> str:
    return str(value.get("slug") or value.get("name") or "") if isinstance(value, dict) else ""


def _id(value: Any) -> int | None:
    return int(value["id"]) if isinstance(value, dict) else None


def _tags(value: dict[str, Any]) -> frozenset[str]:
    return frozenset(t["slug"] for t in value.get("tags") or ())


def _fields(value: dict[str, Any]) -> dict[str, Any]:
    return {k: plain(v) for k, v in (value.get("custom_fields") or {}).items()}


def _bare(value: Any) -> str | None:
    return str(ip_interface(value["address"]).ip) if isinstance(value, dict) else None


def _device(value: dict[str, Any], virtual: bool) -> Device:
    return Device(
        id=value["id"],
        virtual=virtual,
        name=value["name"] or None,
        role=_slug(value.get("role") or value.get("device_role")),
        status=choice(value["status"]),
        site=_slug(value.get("site")),
        location=_slug(value.get("location")),
        rack=_slug(value.get("rack")),
        tags=_tags(value),
        fields=_fields(value),
        context=value.get("config_context") or {},
        primary=frozenset(a for k in ("primary_ip4", "primary_ip6") if (a := _bare(value.get(k)))),
        oob=_bare(value.get("oob_ip")),
    )


def _port(value: dict[str, Any], virtual: bool) -> Port:
    mac = value.get("mac_address") or (value.get("primary_mac_address") or {}).get("mac_address")
    return Port(
        id=value["id"],
        device=value["virtual_machine" if virtual else "device"]["id"],
        virtual=virtual,
        name=value["name"],
        type=choice(value.get("type")),
        enabled=bool(value["enabled"]),
        mgmt_only=bool(value.get("mgmt_only")),
        mtu=value.get("mtu"),
        mac=mac.lower() if mac else None,
        lag=_id(value.get("lag")),
        parent=_id(value.get("parent")),
        bridge=_id(value.get("bridge")),
        vlan=(value.get("untagged_vlan") or {}).get("vid"),
        tags=_tags(value),
        neighbour=_neighbour(value),
    )


def _neighbour(value: dict[str, Any]) -> str | None:
    """The far end of its cable path, through patch panels; only if all cables are connected (not planned)."""
    ends: list[Any] = value.get("connected_endpoints") or []
    if not value.get("connected_endpoints_reachable") or len(ends) != 1:
        return None
    device = (ends[0].get("device") or {}).get("name")
    return f"{device}:{ends[0]['name']}" if device else None


def _address(value: dict[str, Any]) -> Address:
    kind = value.get("assigned_object_type") or ""
    owner = value.get("assigned_object_id")
    return Address(
        id=value["id"],
        address=ip_interface(value["address"]),
        status=choice(value["status"]),
        role=choice(value.get("role")),
        vrf=_id(value.get("vrf")),
        name=value.get("dns_name") or "",
        port=owner if kind in ("dcim.interface", "virtualization.vminterface") else None,
        virtual=kind == "virtualization.vminterface",
        fhrp=kind == "ipam.fhrpgroup",
        inside=_bare(value.get("nat_inside")) or "",
    )


def _prefix(value: dict[str, Any]) -> Prefix:
    scope = value.get("scope") if value.get("scope_type") == "dcim.site" else None
    return Prefix(
        network=ip_network(value["prefix"], strict=False),
        status=choice(value["status"]),
        role=_slug(value.get("role")),
        tags=_tags(value),
        fields=_fields(value),
        vrf=_id(value.get("vrf")),
        vlan=(value.get("vlan") or {}).get("vid"),
        site=_slug(scope or value.get("site")),
    )
