# SPDX-License-Identifier: Apache-2.0
"""Rules in the operator's policies that their services do not have: oslo.policy reads them without a word.

A policy is checked if every image whose container it reaches has a list of rules.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from scs_deploy.environment import policy
from scs_deploy.environment.option_lists import OptionList
from scs_deploy.region.problem import OptionProblem
from scs_deploy.region.region import Region
from scs_deploy.spec.container import POLICY_FILE

DEFAULT = "default"
"""The rule that stands for rules which no service declares."""


def problems(region: Region, known: Mapping[str, OptionList]) -> Iterator[OptionProblem]:
    """Unknown rules of all policies, by file and line."""
    for path, (services, images) in sorted(_readers(region).items()):
        lists = [known[i] for i in images if i in known and known[i].rules]
        if len(lists) == len(images):
            yield from _of_file(path, ", ".join(sorted(services)), {r for o in lists for r in o.rules})


def _readers(region: Region) -> dict[Path, tuple[set[str], set[str]]]:
    """The services and images that read each policy."""
    result: dict[Path, tuple[set[str], set[str]]] = {}
    for service in region.catalog.services.values():
        for name, spec in service.containers.items():
            hosts = region.hosts_of(service.name, name)[:1] if spec.policy else ()
            for host in hosts:
                # a region has the same policy on all hosts
                for path in region.overrides.layers(
                    service.layer, service.name, name, host.name, POLICY_FILE.name, policy.FORMAT
                ):
                    services, images = result.setdefault(path, (set(), set()))
                    services.add(service.name)
                    images.add(spec.image or service.name)
    return result


def _of_file(path: Path, who: str, rules: set[str]) -> Iterator[OptionProblem]:
    text = path.read_text(encoding="utf-8")
    own = policy.parse(text)
    used = {name for value in own.values() for name in re.findall(r"\brule:([^\s()]+)", value)}
    lines = policy.lines(text)
    for rule in own:
        if rule in rules or rule in used or rule == DEFAULT or _is_of_attribute(rule, rules):
            continue
        close = difflib.get_close_matches(rule, sorted(rules), n=1, cutoff=0.7)
        hint = f"did you mean '{close[0]}'?" if close else "remove it, or use it in another rule as rule:NAME"
        yield OptionProblem(f"{path}:{lines[rule]}", f"'{rule}': {who} has no such rule", hint, True)


def _is_of_attribute(rule: str, rules: set[str]) -> bool:
    """Whether it is for an attribute of what a known rule is for: Neutron asks `create_network:ATTRIBUTE` for each."""
    parts = rule.split(":")
    return any(":".join(parts[:i]) in rules for i in range(1, len(parts)))
