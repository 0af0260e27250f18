# SPDX-License-Identifier: Apache-2.0
"""Config overrides of the operator: find them, merge them by key into the rendered template, compare the results.

Layers in `environments/<name>/config/`, the last one wins: `global.conf` (`.conf` files of OpenStack services),
`<service>.conf` (INI of one service), `<service>/<file>`, `<container>/<file>`, `hosts/<host>/<file>`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from scs_deploy.base import ini
from scs_deploy.base.errors import RefusedError

Layer = tuple[str, str]
"""(source as displayed to the operator, text)"""

SECRET_KEY = re.compile(
    r"pass|secret|token|credential|cookie|(^|_| )key$|private|connection|transport_url", re.IGNORECASE
)
CREDENTIALS = re.compile(r"://[^/\s@]+@")


def file_format(name: str, declared: str = "auto") -> str:
    """`ini`, `yaml`, `json` or `text`: as declared, or by the file's suffix."""
    if declared != "auto":
        return declared
    suffix = Path(name).suffix
    return {".conf": "ini", ".ini": "ini", ".cnf": "ini", ".yml": "yaml", ".yaml": "yaml", ".json": "json"}.get(
        suffix, "text"
    )


class Overrides:
    """The override files of one environment, listed once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = (
            frozenset(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())
            if directory.is_dir()
            else frozenset()
        )

    def layers(self, layer: str, service: str, container: str, host: str, name: str, fmt: str) -> list[Path]:
        """Override files that apply to `name` of `container` on `host`, lowest precedence first."""
        candidates = []
        if fmt == "ini" and layer == "openstack" and name.endswith(".conf"):
            candidates.append("global.conf")
        if fmt == "ini" and name.endswith(".conf"):
            candidates.append(f"{service}.conf")
        candidates += [f"{service}/{name}", f"{container}/{name}", f"hosts/{host}/{name}"]
        return [self.directory / c for c in dict.fromkeys(candidates) if c in self.files]

    def check(self, services: dict[str, set[str]], containers: dict[str, set[str]], hosts: Iterable[str]) -> None:
        """Reject override files that apply to nothing.

        :param services: service: its file names
        :param containers: container: its file names
        :raises RefusedError: names the file
        """
        known_hosts = set(hosts)
        every = {f for names in services.values() for f in names}
        for file in sorted(self.files):
            head, _, rest = file.partition("/")
            if not rest:
                ok = file == "global.conf" or (file.endswith(".conf") and file[:-5] in services)
            elif head == "hosts":
                host, _, name = rest.partition("/")
                ok = host in known_hosts and name in every
            else:
                ok = rest in services.get(head, set()) | containers.get(head, set())
            if not ok and Path(file).name not in (".gitkeep", "README.md"):
                raise RefusedError(
                    f"{self.directory / file}: this override applies to no service, container or host",
                    "run `scs config list` to see the valid names",
                )


def merge(base: str, layers: Iterable[Layer], fmt: str) -> str:
    """The layers merged into `base`. Without layers, the result is `base` byte for byte.

    :raises RefusedError: a layer cannot be parsed; names it
    """
    text = base
    for source, over in layers:
        try:
            text = _MERGE[fmt](text, over)
        except (ValueError, yaml.YAMLError) as error:
            raise RefusedError(f"{source}: {str(error).splitlines()[0]}", f"the file must be valid {fmt}") from None
    return text


def flatten(text: str, fmt: str) -> dict[str, str]:
    """Key: value of a config text. Empty for formats without keys."""
    if fmt == "ini":
        return ini.flat(ini.parse(text))
    if fmt in ("yaml", "json"):
        return dict(_walk(yaml.safe_load(text) if fmt == "yaml" else json.loads(text), ""))
    return {}


def differences(old: str, new: str, fmt: str, secrets: Iterable[str]) -> list[str]:
    """The changes from `old` to `new`, one line each, with every secret hidden."""
    try:
        before, after = flatten(old, fmt), flatten(new, fmt)
    except (ValueError, yaml.YAMLError):
        before, after = {}, {}
    if before == after:
        old_lines, new_lines = set(old.splitlines()), set(new.splitlines())
        return [f"lines +{len(new_lines - old_lines)} -{len(old_lines - new_lines)}"]
    hidden = tuple(s for s in secrets if s)
    lines = []
    for key in (*before, *(k for k in after if k not in before)):
        a, b = before.get(key), after.get(key)
        if a != b:
            lines.append(f"{key} {hide(key, a, hidden)} -> {hide(key, b, hidden)}")
    return lines


def hide(key: str, value: str | None, secrets: tuple[str, ...]) -> str:
    """`value` for display, with credentials and secrets replaced."""
    if value is None:
        return "(not set)"
    if SECRET_KEY.search(key.rpartition("] ")[2] or key) or any(s in value for s in secrets):
        return "(hidden)"
    value = CREDENTIALS.sub("://(hidden)@", value)
    return value if len(value) <= 80 else value[:77] + "..."


def _merge_ini(base: str, over: str) -> str:
    rendered, layer = ini.parse(base), ini.parse(over)
    if layer.get("") and not rendered.get(""):
        # OpenStack services do not start with options outside of sections
        raise ValueError(f"option '{next(iter(layer['']))}' precedes the first [section]")
    return ini.dump(ini.merge(rendered, layer))


def _merge_yaml(base: str, over: str) -> str:
    return yaml.safe_dump(_deep(yaml.safe_load(base), yaml.safe_load(over)), sort_keys=False)


def _merge_json(base: str, over: str) -> str:
    return json.dumps(_deep(json.loads(base), json.loads(over)), indent=2) + "\n"


def _deep(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return {
            k: _deep(base[k], over[k]) if k in base and k in over else over.get(k, base.get(k))
            for k in (*base, *(x for x in over if x not in base))
        }
    return over


def _walk(value: Any, prefix: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, json.dumps(value, default=str)


_MERGE: dict[str, Callable[[str, str], str]] = {
    "ini": _merge_ini,
    "yaml": _merge_yaml,
    "json": _merge_json,
    "text": lambda _base, over: over,
}
