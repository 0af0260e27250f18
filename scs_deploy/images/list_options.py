# SPDX-License-Identifier: Apache-2.0
"""Lists the options and policy rules of an image's OpenStack programs. It runs in the image, with its Python.

oslo.config's generator knows the options of every installed package that declares them (entry points of the group
`oslo.config.opts`). A daemon reads all its files into one set of options, so one list is for all files of an image.
Policy rules are declared in the same way, under `oslo.policy.policies`.
Prints what `scs_deploy.environment.option_lists.OptionList` describes; nothing in an image without OpenStack.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import sys
from typing import Any

CLIENT = {"auth_type", "auth_section", "collect_timing", "valid_interfaces"}
"""Sections with one of these are those of a client, which may log in with options that its package does not list."""


def namespaces() -> list[str]:
    """The names under which installed packages declare options. Without those whose code cannot be imported here.

    No process of the image can read those options either. The generator would stop at the first of them.
    """
    found = []
    for point in importlib.metadata.entry_points(group="oslo.config.opts"):
        try:
            point.load()()
        except Exception as error:  # noqa: BLE001 - the code of any package
            print(f"{point.name}: {type(error).__name__}: {error}", file=sys.stderr)
        else:
            found.append(point.name)
    return sorted(set(found))


def generated(names: list[str]) -> dict[str, Any]:
    """What `oslo-config-generator --format json` writes for these namespaces."""
    from oslo_config import cfg, generator

    conf = cfg.ConfigOpts()
    generator.register_cli_opts(conf)
    conf([word for name in names for word in ("--namespace", name)] + ["--format", "json"])
    text = io.StringIO()
    generator.generate(conf, text)
    data: dict[str, Any] = json.loads(text.getvalue())
    return data


def authentication() -> list[str]:
    """Options of every way to log in to Keystone; the generator lists few of them."""
    try:
        from keystoneauth1 import loading
    except ImportError:
        return []
    options: list[Any] = [*loading.get_session_conf_options(), *loading.get_adapter_conf_options()]
    for name in sorted(loading.get_available_plugin_names()):
        try:
            options += loading.get_plugin_loader(name).get_options()
        except Exception as error:  # noqa: BLE001 - the code of any package
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    names = {option.dest for option in options}
    for option in options:
        old = getattr(option, "deprecated_opts", None) or getattr(option, "deprecated", None) or ()
        names |= {each.name.replace("-", "_") for each in old}
    return sorted(names)


def rules() -> list[str]:
    """Names of the policy rules that installed packages declare, and the former names that they still read."""
    found = set()
    for point in importlib.metadata.entry_points(group="oslo.policy.policies"):
        try:
            declared = list(point.load()())
        except Exception as error:  # noqa: BLE001 - the code of any package
            print(f"{point.name}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        for rule in declared:
            found.add(rule.name)
            if old := getattr(rule, "deprecated_rule", None):
                found.add(old.name)
    return sorted(found)


def reduced(data: dict[str, Any], login: list[str], rules: list[str]) -> dict[str, Any]:
    """Names, replacements and reasons only."""
    options: dict[str, Any] = {}
    removal: dict[str, Any] = {}
    renamed: dict[str, Any] = {}
    for section, group in data["options"].items():
        names = {opt["dest"] for opt in group["opts"]}
        options[section] = sorted(names | set(login if names & CLIENT else ()))
        for opt in group["opts"]:
            if opt["deprecated_for_removal"]:
                # some are a page long
                reason = " ".join((opt["deprecated_reason"] or "").split()).partition(". ")[0]
                removal.setdefault(section, {})[opt["dest"]] = reason
    for section, old in data["deprecated_options"].items():
        for opt in old:
            name = opt["name"].replace("-", "_")
            if name not in options.get(section, ()):
                new = f"[{opt['replacement_group']}] {opt['replacement_name'].replace('-', '_')}"
                renamed.setdefault(section, {})[name] = new
    return {"options": options, "renamed": renamed, "removal": removal, "rules": rules}


if __name__ == "__main__":
    if names := namespaces():
        # print ends the last line: Docker's log, followed to its end, may leave out one that has no end
        print(json.dumps(reduced(generated(names), authentication(), rules()), indent=0, sort_keys=True))
