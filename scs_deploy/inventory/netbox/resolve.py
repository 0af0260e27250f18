# SPDX-License-Identifier: Apache-2.0
"""Convert NetBox objects to hosts with the mapping. Pure: the order of the objects does not matter."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pydantic import ValidationError

from scs_deploy.base.model import IPAddress
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory import checks
from scs_deploy.inventory.checks import Problem
from scs_deploy.inventory.links import Link
from scs_deploy.inventory.model import Disk, Host, Interface, Inventory, grouped
from scs_deploy.inventory.netbox.addressing import (
    SHARED,
    Prefixes,
    mask_problem,
    network_of,
    role_of,
    role_of_tags,
)
from scs_deploy.inventory.netbox.mapping import Mapping as Rules
from scs_deploy.inventory.netbox.mapping import Selection
from scs_deploy.inventory.netbox.ports import build_links, carried, is_loopback
from scs_deploy.inventory.netbox.read import Address, Device, Port, Prefix, Snapshot
from scs_deploy.inventory.synced import NetworkFacts, VirtualAddress


@dataclass(frozen=True)
class Resolved:
    """The region as described by NetBox."""

    inventory: Inventory
    networks: dict[str, NetworkFacts]
    addresses: tuple[VirtualAddress, ...]
    problems: tuple[Problem, ...]
    left_out: Mapping[str, int]
    """reason: number of devices and virtual machines that are not hosts for this reason"""


def resolve(snapshot: Snapshot, rules: Rules, environment: Environment) -> Resolved:
    """Resolve hosts, networks and virtual addresses, and collect all problems."""
    return _Resolver(snapshot, rules, environment).run()


class _Resolver:
    """Lookup tables for all hosts. Used for one `run`."""

    def __init__(self, snapshot: Snapshot, rules: Rules, environment: Environment) -> None:
        self.snapshot = snapshot
        self.rules = rules
        self.environment = environment
        self.networks = environment.settings.networks
        self.problems: list[Problem] = []
        self.left_out: Counter[str] = Counter()
        self.statuses = frozenset(rules.networks.address_status)
        self.prefixes = Prefixes.build(snapshot.prefixes, rules.sites)
        self.ports: dict[tuple[bool, int], list[Port]] = {}
        for port in snapshot.ports:
            self.ports.setdefault((port.virtual, port.device), []).append(port)
        self.addresses: dict[tuple[bool, int], list[Address]] = {}
        for address in snapshot.addresses:
            if address.port is not None:
                self.addresses.setdefault((address.virtual, address.port), []).append(address)
        self.vlans = self._vlans()
        self.gateways = self._gateways()

    def run(self) -> Resolved:
        hosts: dict[str, Host] = {}
        for device in sorted(self.snapshot.devices, key=lambda d: (d.title, d.virtual, d.id)):
            if reason := self._exclusion(device):
                self.left_out[reason] += 1
                continue
            if device.name is None:
                self._problem(device.title, "has no name")
                continue
            if device.name in hosts:
                self._problem(device.name, f"duplicate host name: {hosts[device.name].origin}, {device.origin}")
                continue
            if host := self._host(device, device.name):
                hosts[device.name] = host
        inventory = grouped(hosts)
        virtual = self._virtual()
        facts = self._facts()
        self.problems += checks.check(inventory, self.environment.settings)
        required = {
            group: dict.fromkeys(networks, f"netbox.yml (networks.required.{group})")
            for group, networks in self.rules.networks.required.items()
        }
        self.problems += checks.check_needs(inventory, required)
        self.problems += self._taken(inventory, virtual)
        return Resolved(
            inventory, facts, virtual, tuple(sorted(set(self.problems))), dict(sorted(self.left_out.items()))
        )

    def _problem(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))

    # which devices are hosts, and in which groups

    def _exclusion(self, device: Device) -> str:
        """The reason why a device is not a host; '' if it is one."""
        chosen: Selection | None = self.rules.virtual_machines if device.virtual else self.rules.devices
        if chosen is None:
            return "virtual machine"
        if self._ignored(device.role):
            return f"role {device.role}"
        if device.status not in chosen.status:
            return f"status {device.status}"
        if missing := sorted(set(chosen.tags) - device.tags):
            return f"no tag {missing[0]}"
        if unwanted := sorted(set(chosen.skip_tags) & device.tags):
            return f"tag {unwanted[0]}"
        for name, value in sorted(chosen.skip_fields.items()):
            if device.fields.get(name) == value:
                return f"{name}={str(value).lower() if isinstance(value, bool) else value}"
        return ""

    def _ancestry(self, role: str) -> Iterator[str]:
        seen: set[str] = set()
        while role and role not in seen:
            yield role
            seen.add(role)
            role = self.snapshot.parents.get(role, "")

    def _ignored(self, role: str) -> bool:
        for one in self._ancestry(role):
            if one in self.rules.groups.roles:
                return False
            if one in self.rules.groups.ignore_roles:
                return True
        return False

    def _groups(self, device: Device) -> tuple[str, ...]:
        rules = self.rules.groups
        groups: set[str] = set()
        role = next((r for r in self._ancestry(device.role) if r in rules.roles), None)
        if role is None:
            self._problem(device.title, f"unknown role '{device.role}': add it to groups.roles or groups.ignore_roles")
        else:
            groups |= set(rules.roles[role])
        for tag in device.tags:
            groups |= set(rules.tags.get(tag, ()))
        if rules.field:
            listed = device.fields.get(rules.field)
            if isinstance(listed, list | tuple):
                groups |= {str(g) for g in listed}
            elif listed is not None:
                self._problem(device.title, f"custom field {rules.field} is not a list of groups")
        while more := {p for p, children in rules.parents.items() if groups & set(children)} - groups:
            groups |= more
        return tuple(sorted(groups))

    # one host

    def _host(self, device: Device, name: str) -> Host | None:
        ports = self.ports.get((device.virtual, device.id), [])
        addresses = {p.id: self.addresses.get((device.virtual, p.id), []) for p in ports}
        before = len(self.problems)
        try:
            own_links = build_links(
                ports, addresses, self.statuses, self.rules.networks.bond_mode,
                lambda port, what: self._problem(f"{name} {port}", what),
            )  # fmt: skip
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            self._problem(name, f"interface: {'.'.join(str(p) for p in problem['loc'])}: {problem['msg']}")
            return None
        groups = self._groups(device)
        networks = self._places(device, name, ports, addresses)
        settings = self._settings(device, groups)
        management = networks.get("management")
        if management is None or management.address is None:
            if before == len(self.problems):
                known = ", ".join(str(a.address) for a in self._carried(ports, addresses)) or "none"
                self._problem(name, f"has no address on network management (its addresses: {known})")
            return None
        connection = {k: v for k, v in settings.items() if k.startswith("ansible_")}
        return Host(
            name=name,
            address=str(connection.get("ansible_host", management.address)),
            networks=networks,
            groups=groups,
            settings={k: v for k, v in settings.items() if k not in connection},
            connection=connection,
            links=self._routed(device, own_links, networks),
            zone=self._zone(device),
            rack=_bucket(device.rack),
            disks=self._disks(device),
            oob=ip_address(device.oob) if device.oob else None,
            origin=device.origin,
        )

    def _carried(self, ports: Sequence[Port], addresses: Mapping[int, Sequence[Address]]) -> list[Address]:
        return [a for p in ports if not p.mgmt_only for a in carried(addresses[p.id], self.statuses)]

    def _places(
        self, device: Device, name: str, ports: Sequence[Port], addresses: Mapping[int, Sequence[Address]]
    ) -> dict[str, Interface]:
        candidates: dict[str, list[tuple[Port, IPAddress]]] = {}
        attached: dict[str, list[str]] = {}
        for port in sorted((p for p in ports if not p.mgmt_only), key=lambda p: p.name):
            own = carried(addresses[port.id], self.statuses)
            for address in own:
                prefix = self.prefixes.of(address.address, address.vrf)
                if prefix is None:
                    if not is_loopback(address):
                        self._problem(f"{name} {port.name}", f"address {address.address} is not in any NetBox prefix")
                    continue
                if wrong := mask_problem(address, prefix):
                    self._problem(f"{name} {port.name}", wrong)
                network = network_of(role_of(prefix, self.rules.networks), self.rules.networks, self.networks)
                # a network has one cidr: addresses of the other IP version are configured on the link only
                if network and address.address.version == self.networks[network].cidr.version:
                    candidates.setdefault(network, []).append((port, address.address.ip))
            if not own and port.enabled:
                role = role_of_tags(port.tags, self.rules.networks) or self.vlans.get(port.vlan or 0, "")
                if network := network_of(role, self.rules.networks, self.networks):
                    attached.setdefault(network, []).append(port.name)
        places = {n: Interface(interface=p[0]) for n, p in attached.items() if len(p) == 1}
        for network, found in candidates.items():
            primary = [(p, a) for p, a in found if str(a) in device.primary] or found
            if len(primary) > 1:
                listed = ", ".join(f"{a} ({p.name})" for p, a in primary)
                self._problem(name, f"has several addresses on network {network}: {listed}")
            port, address_ = primary[0]
            places[network] = Interface(interface=port.name, address=address_)
        return dict(sorted(places.items()))

    def _routed(self, device: Device, links: dict[str, Link], networks: Mapping[str, Interface]) -> dict[str, Link]:
        """Add gateways and name servers to the link of the gateway network."""
        place = networks.get(self.rules.networks.gateways.network)
        if place is None or place.interface not in links:
            return links
        link = links[place.interface]
        on_link = [a.network for a in link.addresses]
        more: dict[str, Any] = {}
        for version in (4, 6):
            gateway = self.gateways.get(version)
            if (
                gateway is not None
                and any(gateway in n for n in on_link)
                and gateway not in [a.ip for a in link.addresses]
            ):
                more[f"gateway{version}"] = gateway
        if self.rules.networks.nameservers:
            servers = _path(device, self.rules.networks.nameservers)
            try:
                more["nameservers"] = tuple(ip_address(s) for s in servers or ())
            except (ValueError, TypeError):
                self._problem(device.title, f"{self.rules.networks.nameservers}: not a list of addresses: {servers}")
        return {**links, place.interface: link.model_copy(update=more)} if more else links

    def _settings(self, device: Device, groups: Sequence[str]) -> dict[str, Any]:
        rules = self.rules
        settings: dict[str, Any] = {}
        for group in ("all", *groups):
            for key, value in rules.group_settings.get(group, {}).items():
                if (
                    group != "all"
                    and key in settings
                    and settings[key] != value
                    and key not in rules.group_settings.get("all", {})
                ):
                    self._problem(device.title, f"group_settings: {key} differs between its groups")
                settings[key] = value
        for key, path in rules.settings.items():
            if (value := _path(device, path)) is not None:
                settings[key] = value
        return dict(sorted(settings.items()))

    def _zone(self, device: Device) -> str | None:
        if not self.rules.zone:
            return None
        parts = {"site": device.site, "location": device.location, "rack": device.rack}
        for key, value in parts.items():
            if f"{{{key}}}" in self.rules.zone and not value:
                self._problem(device.title, f"has no {key}, but zone is '{self.rules.zone}'")
        return self.rules.zone.format(**parts)

    def _disks(self, device: Device) -> tuple[Disk, ...]:
        listed = _path(device, self.rules.disks) if self.rules.disks else None
        try:
            disks = [Disk(device=d["device"], device_class=d.get("class")) for d in listed or ()]
        except (TypeError, KeyError, AttributeError, ValidationError):
            self._problem(device.title, f"{self.rules.disks}: must be a list of {{device, class}}")
            return ()
        if len({d.path for d in disks}) != len(disks):
            self._problem(device.title, f"{self.rules.disks}: lists a device twice")
        return tuple(sorted(disks, key=lambda d: d.path))

    # the region

    def _vlans(self) -> dict[int, str]:
        roles: dict[int, set[str]] = {}
        for prefix in self.prefixes.all():
            if prefix.vlan and (role := role_of(prefix, self.rules.networks)):
                roles.setdefault(prefix.vlan, set()).add(role)
        return {vlan: next(iter(names)) for vlan, names in roles.items() if len(names) == 1}

    def _gateways(self) -> dict[int, IPAddress]:
        rules = self.rules.networks.gateways
        owners = {p.id: p.device for p in self.snapshot.ports if not p.virtual}
        gateways: dict[int, IPAddress] = {}
        for prefix in self.prefixes.all():
            role = role_of(prefix, self.rules.networks)
            named = prefix.fields.get(rules.field)
            if self.rules.networks.roles.get(role, role) != rules.network or not isinstance(named, dict):
                continue
            inside = sorted(
                (a.address.ip for a in self.snapshot.addresses
                 if a.port is not None and owners.get(a.port) == named.get("id") and not a.virtual
                 and a.address.version == prefix.network.version and a.address.ip in prefix.network),
                key=int,
            )  # fmt: skip
            if inside:
                gateways.setdefault(prefix.network.version, inside[0])
            else:
                self._problem(f"prefix {prefix.network}", f"its {rules.field} {named.get('name')} has no address in it")
        return gateways

    def _facts(self) -> dict[str, NetworkFacts]:
        by_network: dict[str, list[Prefix]] = {}
        for prefix in self.prefixes.all():
            if name := network_of(role_of(prefix, self.rules.networks), self.rules.networks, self.networks):
                by_network.setdefault(name, []).append(prefix)
        for name, prefixes in sorted(by_network.items()):
            cidr = self.networks[name].cidr
            same = [p.network for p in prefixes if p.network.version == cidr.version]
            if same and not any(n.subnet_of(cidr) or cidr.subnet_of(n) for n in same):  # type: ignore[arg-type]
                listed = ", ".join(str(n) for n in same)
                self._problem(f"network {name}", f"cidr is {cidr} in environment.yml, but {listed} in NetBox")
        return {
            name: NetworkFacts(
                prefixes=tuple(p.network for p in prefixes),
                vlans=tuple(sorted({p.vlan for p in prefixes if p.vlan})),
            )
            for name, prefixes in sorted(by_network.items())
        }

    def _virtual(self) -> tuple[VirtualAddress, ...]:
        outside = {a.inside: a.address.ip for a in self.snapshot.addresses if a.inside}
        virtual = []
        for address in self.snapshot.addresses:
            if address.status != "active" or not (address.role in SHARED or address.fhrp):
                continue
            prefix = self.prefixes.of(address.address, address.vrf)
            network = prefix and network_of(role_of(prefix, self.rules.networks), self.rules.networks, self.networks)
            if network:
                virtual.append(
                    VirtualAddress(
                        address=address.address.ip, name=address.name, network=network, role=address.role or "vrrp",
                        outside=outside.get(str(address.address.ip)),
                    )
                )  # fmt: skip
        return tuple(sorted(virtual, key=lambda v: (v.address.version, int(v.address))))

    def _taken(self, inventory: Inventory, virtual: Sequence[VirtualAddress]) -> Iterator[Problem]:
        owners = {a.ip: h.name for h in inventory.hosts.values() for link in h.links.values() for a in link.addresses}
        api = self.environment.settings.api
        for one in virtual:
            if one.address in owners:
                yield Problem(owners[one.address], f"address {one.address} is also a virtual address ({one.role})")
            for side, wanted in (("internal", api.internal), ("external", api.external)):
                if (
                    one.name == wanted.name
                    and one.address.version == wanted.address.version
                    and one.address != wanted.address
                ):
                    yield Problem(
                        f"api.{side}.address",
                        f"is {wanted.address} in environment.yml, but {one.address} in NetBox",
                    )


def _path(device: Device, path: str) -> Any:
    """The value at `custom_fields.a.b` or `config_context.a.b`; None if a part is missing."""
    root, *parts = path.split(".")
    value: Any = device.fields if root == "custom_fields" else device.context
    for part in parts:
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _bucket(rack: str) -> str | None:
    """A rack's name, which people write as they like, as CRUSH takes it."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", rack).strip("-._")[:63] or None
