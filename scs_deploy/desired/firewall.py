# SPDX-License-Identifier: Apache-2.0
"""The packet filter of a host: what its listeners, and nothing else, need. Pure.

One nftables table, `inet scs`, with chains before those of Docker: what it refuses, no other table accepts again, and
it touches no other table. https://wiki.nftables.org/wiki-nftables/index.php/Configuring_chains
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from scs_deploy.base.model import Model
from scs_deploy.desired.listeners import (
    MANAGEMENT,
    Listening,
    address_of,
    addresses,
    listening,
    network_of,
)
from scs_deploy.inventory.model import Host
from scs_deploy.region.region import Region
from scs_deploy.spec.listener import ANYONE, LOOPBACK, MANAGER

SSH_PORT = 22
VRRP = "112"
"""IP protocol number, RFC 9568."""
ICMP = "destination-unreachable, time-exceeded, parameter-problem, echo-request, echo-reply"
ICMPV6 = (
    "destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request, echo-reply, "
    "nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query"
)
"""What RFC 4890 has a host accept. A redirect is not among them."""

SAME_WAY = "fib saddr . iif oif exists"
"""An answer would leave by the interface that the packet came in: no other network forges a host's address."""
MANAGERS = "manager"
"""Name of the set of the manager's addresses, without its family."""

Network = IPv4Network | IPv6Network


class Rule(Model):
    """Who may connect to some ports of a host."""

    destination: str
    """an address of the host; empty: any"""
    source: str
    """name of a set without its family; empty: anyone"""
    family: int
    protocol: str
    ports: tuple[str, ...]
    what: tuple[str, ...]
    """containers, for people"""


class AddressSet(Model):
    """Source addresses with a name."""

    name: str
    networks: tuple[Network, ...]

    def of(self, family: int) -> list[str]:
        """Those of one family, as nftables writes them."""
        return [
            str(n.network_address) if n.num_addresses == 1 else str(n) for n in self.networks if n.version == family
        ]


def ssh_port(host: Host) -> int:
    """The port of a host's sshd."""
    return int(host.connection.get("ansible_port") or SSH_PORT)


def manager_networks(region: Region) -> tuple[Network, ...]:
    """Where the manager is, as far as the region's files say it: a host finds out the rest when scs connects to it."""
    settings = region.environment.settings
    found: list[Network] = list(settings.firewall.manager)
    if settings.registry.managed and (address := _address(settings.registry.address)):
        found.append(address)
    # the manager is itself a host
    found += [
        ip_network(a)
        for h in region.inventory.hosts.values() if h.connection.get("ansible_connection") == "local"
        for a in sorted(str(n.address) for n in h.networks.values() if n.address)
    ]  # fmt: skip
    return collapsed(found)


def trusted(region: Region) -> tuple[Network, ...]:
    """From where SSH is possible without the manager's own address."""
    return collapsed([region.environment.settings.networks[MANAGEMENT].cidr, *manager_networks(region)])


def collapsed(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Sorted, without those that are part of another one."""
    every = sorted(set(networks), key=lambda n: (n.version, n.network_address.packed, n.prefixlen))
    result: list[Network] = []
    for network in every:
        if not (result and result[-1].version == network.version and _within(network, result[-1])):
            result.append(network)
    return tuple(result)


def rules(region: Region, host: Host) -> str:
    """The text of a host's table for `nft -f`, which replaces the one that is there at once."""
    sets: dict[str, AddressSet] = {}
    found = _merged([r for one in listening(region, host) for r in _rules(region, host, one, sets)])
    cidr = region.environment.settings.networks[MANAGEMENT].cidr
    managers = AddressSet(name=MANAGERS, networks=manager_networks(region))
    lines = [
        f"# Who may reach {host.name}. Written by scs; changes are lost. `scs bootstrap` writes it anew.",
        "add table inet scs",
        "delete table inet scs",
        "table inet scs {",
        "  # where scs connects from; a host adds the addresses that it saw",
        *_set("manager4", "ipv4_addr", managers.of(4), grows=True),
        *_set("manager6", "ipv6_addr", managers.of(6), grows=True),
        *_set("ssh_ports", "inet_service", [str(ssh_port(host))]),
        *[line for name in sorted(sets) for line in _sets(sets[name], found)],
        *_untracked(found),
        "  chain input {",
        "    type filter hook input priority filter - 10; policy drop;",
        '    iifname "lo" accept',
        "    ct state established,related accept",
        f"    icmp type {{ {ICMP} }} accept",
        f"    icmpv6 type {{ {ICMPV6} }} accept",
        "    # answers to DHCP clients",
        "    udp sport 67 udp dport 68 accept",
        "    ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",
        "    # SSH",
        f"    {_ip(cidr.version)} saddr {cidr} tcp dport @ssh_ports accept",
        "    ip saddr @manager4 tcp dport @ssh_ports accept",
        "    ip6 saddr @manager6 tcp dport @ssh_ports accept",
        *[line for rule in found for line in _lines(rule)],
        *_openings(region, host),
        '    limit rate 10/minute burst 20 packets log prefix "scs-firewall: "',
        "  }",
        "  # hosts do not route",
        "  chain forward {",
        "    type filter hook forward priority filter - 10; policy drop;",
        *[f'    iifname "{n}" oifname "{n}" accept' for n in _bridges(host)],
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def lets_in(region: Region, host: Host) -> tuple[str, ...]:
    """The rules that let somebody in. Who that is, the sets say; a new host changes those only."""
    if not region.environment.settings.firewall.managed:
        return ()
    return tuple(line.strip() for line in rules(region, host).splitlines() if line.endswith(" accept"))


def _rules(region: Region, host: Host, one: Listening, sets: dict[str, AddressSet]) -> Iterator[Rule]:
    if one.network == LOOPBACK:
        return
    network = network_of(region, one.network)
    address = address_of(region, host, one.network)
    if not address:
        return
    vrrp = one.protocol == "vrrp"
    family = ip_address(address).version
    groups = tuple(c for c in one.clients if c not in (MANAGER, ANYONE))

    def rule(source: str) -> Rule:
        return Rule(
            destination="" if vrrp else address, source=source, family=family,
            protocol=one.protocol, ports=(one.port,) if one.port else (), what=(one.container,),
        )  # fmt: skip

    if ANYONE in one.clients:
        yield rule("")
    if MANAGER in one.clients:
        yield rule(MANAGERS)
    if groups:
        # the name cannot collide with that of another set
        name = re.sub(r"[^a-z0-9]", "_", f"{'_'.join(groups)}_on_{network}_".lower())
        members = tuple(ip_network(a) for a in addresses(region, groups, network))
        while name in sets and sets[name].networks != members:
            name += "_"
        sets[name] = AddressSet(name=name, networks=members)
        yield rule(name)


def _merged(found: Sequence[Rule]) -> list[Rule]:
    """One rule for all ports with the same clients."""
    result: dict[tuple[object, ...], Rule] = {}
    for rule in found:
        key = (rule.destination, rule.source, rule.family, rule.protocol)
        if known := result.get(key):
            ports, what = dict.fromkeys((*known.ports, *rule.ports)), dict.fromkeys((*known.what, *rule.what))
            rule = known.model_copy(update={"ports": tuple(ports), "what": tuple(what)})
        result[key] = rule
    return list(result.values())


def _lines(rule: Rule) -> Iterator[str]:
    yield f"    # {', '.join(rule.what)}"
    words = [SAME_WAY] if rule.source not in ("", MANAGERS) else []
    if rule.source:
        words.append(f"{_ip(rule.family)} saddr @{rule.source}{rule.family}")
    if rule.destination:
        words.append(f"{_ip(rule.family)} daddr {rule.destination}")
    if rule.protocol == "vrrp":
        words.append(f"meta l4proto {VRRP}")
    else:
        words.append(f"{rule.protocol} dport {_braces(_joined(rule.ports))}")
    yield "    " + " ".join((*words, "accept"))


def _openings(region: Region, host: Host) -> Iterator[str]:
    openings = [o for o in region.environment.settings.firewall.allow if host.runs(o.hosts)]
    if openings:
        yield "    # firewall.allow of environment.yml"
    for opening in openings:
        for family in (4, 6):
            if sources := AddressSet(name="", networks=collapsed(opening.sources)).of(family):
                yield (
                    f"    {_ip(family)} saddr {_braces(sources)} "
                    f"{opening.protocol} dport {_braces(_joined(opening.ports))} accept"
                )


def _untracked(found: Sequence[Rule]) -> Iterator[str]:
    """Tunnels between hosts carry the guests' packets: an entry of the connection table for each flow is no use."""
    ports = sorted({p for r in found if r.protocol == "udp" for p in r.ports})
    for chain, hook in (("tunnels_in", "prerouting"), ("tunnels_out", "output")):
        if ports:
            yield f"  chain {chain} {{"
            yield f"    type filter hook {hook} priority raw; policy accept;"
            yield f"    udp dport {_braces(_joined(tuple(ports)))} notrack"
            yield "  }"


def _sets(group: AddressSet, found: Sequence[Rule]) -> Iterator[str]:
    for family, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        if any(r.source == group.name and r.family == family for r in found):
            yield from _set(f"{group.name}{family}", kind, group.of(family))


def _set(name: str, kind: str, elements: Sequence[str], grows: bool = False) -> Iterator[str]:
    yield f"  set {name} {{"
    yield f"    type {kind}"
    if grows:
        yield "    flags interval"
        yield "    auto-merge"
    if elements:
        yield f"    elements = {{ {', '.join(elements)} }}"
    yield "  }"


def _bridges(host: Host) -> list[str]:
    """Linux bridges. Docker has what passes between their ports filtered, too; it stays on its network."""
    return sorted(name for name, link in host.links.items() if link.kind == "bridge")


def _joined(ports: Sequence[str]) -> list[str]:
    """In order, without those that a range has."""
    ranges = sorted({tuple(map(int, (p.partition("-")[0], p.rpartition("-")[2]))) for p in ports})
    result: list[tuple[int, int]] = []
    for first, last in ranges:
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return [str(a) if a == b else f"{a}-{b}" for a, b in result]


def _braces(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{{ {', '.join(words)} }}"


def _ip(version: int) -> str:
    return "ip" if version == 4 else "ip6"


def _within(network: Network, other: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(other, IPv4Network) and network.subnet_of(other)
    return isinstance(other, IPv6Network) and network.subnet_of(other)


def _address(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None
