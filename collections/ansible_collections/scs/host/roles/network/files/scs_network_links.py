# SPDX-License-Identifier: Apache-2.0
"""The decisions of scs-network: compares the state of kernel and networkd with the configured links. Pure."""

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

Json = dict[str, Any]
Links = Mapping[str, Json]
"""name: link, as the inventory describes it"""
Files = Mapping[str, str | None]
"""path: text, or None for no file"""
Commands = list[list[str]]


def devices(files: Files) -> dict[str, str]:
    """The text of each virtual link's .netdev file, by the link's name."""
    texts = {}
    for path, text in files.items():
        match = re.fullmatch(r"(?:05-scs|10-netplan)-(.+)\.netdev", os.path.basename(path))
        if match and text is not None:
            texts[match[1]] = text
    return texts


def remade(before: Files, after: Files) -> list[str]:
    """Virtual links to delete first: removed or changed ones. networkd does not change existing ones."""
    old, new = devices(before), devices(after)

    def make(text: str | None) -> list[str]:
        # networkd does set the MTU of an existing link
        return [line for line in (text or "").splitlines() if not line.startswith("MTUBytes=")]

    return sorted(name for name, text in old.items() if make(new.get(name)) != make(text))


def owned(links: Links) -> set[tuple[str, str]]:
    """(link, address) of every address in `links`."""
    return {(name, address) for name, link in links.items() for address in link["addresses"]}


def leftovers(old: Links, new: Links, now: Json) -> Commands:
    """`ip` arguments that remove addresses and routes of the earlier `links` only, which networkd keeps."""
    wanted = owned(new)
    commands: Commands = []
    there = {(n, f"{a['local']}/{a['prefixlen']}") for n, o in now["links"].items() for a in o.get("addr_info", ())}
    for name, address in sorted(owned(old) - wanted):
        if (name, address) in there:
            commands.append(["address", "del", address, "dev", name])
    keep = {(n, *route[:2]) for n, link in new.items() for route in link["routes"]}
    present = {(r.get("dev"), r["dst"], r.get("gateway")) for r in now["routes"]}
    for name, link in sorted(old.items()):
        for to, via in (r[:2] for r in link["routes"]):
            if (name, to, via) not in keep and (name, to, via) in present:
                commands.append(["-6" if ":" in via else "-4", "route", "del", to, "via", via, "dev", name])
    return commands


def superseded(new: Links, now: Json) -> Commands:
    """`ip` arguments that remove routes of other tools (ifupdown, manual ones) to destinations in `links`."""
    own = {to for link in new.values() for to, _ in link["routes"]}
    commands = []
    for route in now["routes"]:
        if route.get("dev") in new and route["dst"] in own and route.get("protocol", "boot") == "boot":
            via = ["via", route["gateway"]] if route.get("gateway") else []
            metric = ["metric", str(route["metric"])] if route.get("metric") else []
            command = ["route", "del", route["dst"], *via, "dev", route["dev"], "proto", "boot", *metric]
            commands.append([route["family"], *command])
    return commands


def way_back(before: Json, now: Json, touched: set[str]) -> Commands:
    """`ip` arguments that restore the touched links.

    :param before, now: what `kernel` returned
    :param touched: names of the links of both configurations
    """
    made = sorted(set(now["links"]) - set(before["links"]))
    commands = [["link", "del", name] for name in made if name in touched]
    for name in sorted(touched):
        old, new = before["links"].get(name), now["links"].get(name)
        if old is None or new is None:
            continue
        if old.get("master") != new.get("master"):
            master = ["master", old["master"]] if old.get("master") else ["nomaster"]
            commands.append(["link", "set", name, *master])
        if old.get("mtu") != new.get("mtu"):
            commands.append(["link", "set", name, "mtu", str(old["mtu"])])
        if ("UP" in old["flags"]) != ("UP" in new["flags"]):
            commands.append(["link", "set", name, "up" if "UP" in old["flags"] else "down"])
        had, has = _addresses(old), _addresses(new)
        commands += [["address", "del", address, "dev", name] for address in sorted(has.keys() - had.keys())]
        commands += [["address", "add", *had[address], "dev", name] for address in sorted(had.keys() - has.keys())]
    deleted = {c[2] for c in commands if c[:2] == ["link", "del"]}
    routes, present = _routes(before, touched), _routes(now, touched - deleted)
    commands += [[route[0], "route", "del", *route[1:]] for route in sorted(present - routes)]
    commands += [[route[0], "route", "replace", *route[1:]] for route in sorted(routes, key=lambda r: ("via" in r, r))]
    return commands


def _addresses(link: Json) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for entry in link.get("addr_info", ()):
        if entry.get("scope") == "link":
            continue
        address = f"{entry['local']}/{entry['prefixlen']}"
        result[address] = [address]
        if entry.get("broadcast"):
            result[address] += ["broadcast", entry["broadcast"]]
        if entry.get("dynamic"):
            times = (("valid_lft", entry["valid_life_time"]), ("preferred_lft", entry["preferred_life_time"]))
            result[address] += [str(part) for pair in times for part in pair]
    return result


def _routes(view: Json, touched: Collection[str]) -> set[tuple[str, ...]]:
    routes: set[tuple[str, ...]] = set()
    for route in view["routes"]:
        # the kernel restores its own routes together with the address
        if route.get("dev") not in touched or route.get("protocol") in ("kernel", "ra"):
            continue
        text = [route["family"], route["dst"]]
        text += ["via", route["gateway"]] if route.get("gateway") else []
        text += ["dev", route["dev"], "proto", str(route.get("protocol", "boot"))]
        text += ["src", route["prefsrc"]] if route.get("prefsrc") else []
        text += ["metric", str(route["metric"])] if route.get("metric") else []
        routes.add(tuple(text))
    return routes


def unfit(links: Links, now: Json) -> list[str]:
    """The reasons why the configuration cannot be meant for this host, checked before anything changes."""
    reasons = []
    by_mac = {o.get("permaddr", o.get("address")): n for n, o in now["links"].items() if o.get("link_type") == "ether"}
    for name, link in links.items():
        if link["kind"] != "physical":
            continue
        there = now["links"].get(name)
        mac = link["mac"]
        if there is None:
            other = by_mac.get(mac)
            has = ", ".join(n for n in now["links"] if n != "lo")
            reasons.append(f"no port {name} here; " + (f"{mac} is {other}" if other else f"there are {has}"))
        elif mac and there.get("permaddr", there.get("address")) != mac:
            reasons.append(
                f"{name} has {there.get('permaddr', there.get('address'))}, links.{name}.mac says {mac}"
                + (f", which is {by_mac[mac]}" if mac in by_mac else "")
            )
    return reasons


def missing(
    links: Links, before: Json, now: Json, states: Mapping[str, Json], files: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """(problems, warnings): differences from the configuration.

    :param before: the kernel's view before the trial: a link that had carrier must have it again
    :param states: from `network_states`
    :param files: the path of each link's .network file, by name
    """
    problems: list[str] = []
    warnings: list[str] = []
    for name, link in links.items():
        there, state = now["links"].get(name), states.get(name, {})
        if there is None:
            problems.append(f"{name} does not exist")
            continue
        flags = there["flags"]
        carrier = "LOWER_UP" in flags
        setup = state.get("AdministrativeState", state.get("SetupState", "unknown"))
        used = state.get("NetworkFile")
        if used != files[name]:
            problems.append(f"{name} is configured by {used or 'nothing'}, not by {files[name]}")
        if setup == "failed":
            problems.append(f"networkd failed to configure {name}")
        if link["mtu"] and there.get("mtu") != link["mtu"]:
            problems.append(f"{name} has MTU {there.get('mtu')}, wanted {link['mtu']}")
        if (link["master"] or None) != there.get("master"):
            problems.append(
                f"{name} is a port of {there.get('master') or 'nothing'}, wanted {link['master'] or 'nothing'}"
            )
        if not link["enabled"]:
            if "UP" in flags:
                problems.append(f"{name} is up, wanted down")
            continue
        if "UP" not in flags:
            problems.append(f"{name} is down")
            continue
        if not carrier and not link["portless"]:
            had = "LOWER_UP" in before["links"].get(name, {"flags": ()})["flags"]
            (problems if had else warnings).append(f"{name} has no carrier")
            continue
        has = {f"{a['local']}/{a['prefixlen']}" for a in there.get("addr_info", ()) if not a.get("tentative")}
        lost = [a for a in link["addresses"] if a not in has]
        if lost:
            problems.append(f"{name} has no address {', '.join(lost)}")
        elif setup not in ("configured", "failed"):
            problems.append(f"{name} is {setup}" + (": no answer by DHCP" if link["dhcp"] else ""))
        routes = {(r["dst"], r.get("gateway")) for r in now["routes"] if r.get("dev") == name}
        problems += [f"{name}: no route to {to} via {via}" for to, via, *_ in link["routes"] if (to, via) not in routes]
    return problems, warnings


def stuck(links: Links, before: Json, now: Json, states: Mapping[str, Json], files: Mapping[str, str]) -> list[str]:
    """Links with problems that networkd considers configured. The parameters are those of `missing`."""
    done = {n for n, s in states.items() if s.get("AdministrativeState", s.get("SetupState")) == "configured"}
    return sorted(n for n in done & links.keys() if missing({n: links[n]}, before, now, states, files)[0])
