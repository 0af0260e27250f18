# SPDX-License-Identifier: Apache-2.0
"""Config overrides of the operator: find them, merge them by key into the rendered template, compare the results.

Layers in `environments/<name>/config/`, the last one wins: `global.conf` (`.conf` files of OpenStack services),
`<service>.conf` (INI of one service), `<service>/<file>`, `<container>/<file>`, `hosts/<host>/<file>`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from scs_deploy.base import ini
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.reading import check_name, read_text
from scs_deploy.environment import policy

Formats = Mapping[str, Mapping[str, str]]
"""service or container: file: its format"""

Layer = tuple[str, str]
"""(source as displayed to the operator, text)"""

SECRET_KEY = re.compile(
    r"pass|secret|token|credential|cookie|(^|_| )(key|kek)$|private|connection|transport_url", re.IGNORECASE
)
_EDITORS = re.compile(r"~$|^\..*\.sw[a-z]$|^#.*#$|^\.#|\.(orig|bak|rej)$")
"""Backups, swap files and locks of editors and merge tools"""

CREDENTIALS = re.compile(r"://[^/\s@]+@")


READERS = {
    ini.INI: "an INI file for oslo.config",
    ini.CNF: "a MariaDB option file",
    policy.FORMAT: 'a mapping of rules to text for oslo.policy, e.g. "identity:list_users": "role:admin"',
}
"""Format: what a file must be for its reader"""


def file_format(name: str, declared: str = "auto") -> str:
    """`ini`, `cnf`, `yaml`, `json`, `policy` or `text`: as declared, or by the file's suffix."""
    if declared != "auto":
        return declared
    suffix = Path(name).suffix
    return {".conf": "ini", ".ini": "ini", ".cnf": "cnf", ".yml": "yaml", ".yaml": "yaml", ".json": "json"}.get(
        suffix, "text"
    )


class Overrides:
    """The override files of one environment, listed once."""

    def __init__(self, directory: Path) -> None:
        """:raises RefusedError: a link leads nowhere or in a circle"""
        self.directory = directory
        self.files = frozenset(str(p.relative_to(directory)) for p in _files(directory, ()))

    def layers(
        self, layer: str, service: str, container: str, host: str, name: str, fmt: str, origin: str = ""
    ) -> list[Path]:
        """Override files that apply to `name` of `container` on `host`, lowest precedence first.

        :param origin: the container's name in its spec, where that means several
        """
        candidates = []
        if fmt == "ini" and layer == "openstack" and name.endswith(".conf"):
            candidates.append("global.conf")
        if fmt == "ini" and name.endswith(".conf"):
            candidates.append(f"{service}.conf")
        candidates += [f"{owner}/{name}" for owner in (service, origin, container) if owner]
        if fmt != policy.FORMAT:
            # each service has a policy of this name, and a region does not have another one on each host
            candidates.append(f"hosts/{host}/{name}")
        return [self.directory / c for c in dict.fromkeys(candidates) if c in self.files]

    def check(self, services: Formats, containers: Formats, hosts: Iterable[str], partly: bool = False) -> None:
        """Reject override files that apply to nothing or that the files' readers would reject.

        :param services: service: its files and their formats
        :param containers: container: its files and their formats
        :param partly: some services are left out, to which the other files may apply
        :raises RefusedError: names the file, and the line of an error in it
        """
        known_hosts = set(hosts)
        every = {f: fmt for names in services.values() for f, fmt in names.items() if fmt != policy.FORMAT}
        for file in sorted(self.files):
            head, _, rest = file.partition("/")
            fmt: str | None = None
            if not rest:
                fmt = "ini" if file == "global.conf" or (file.endswith(".conf") and file[:-5] in services) else None
            elif head == "hosts":
                host, _, name = rest.partition("/")
                fmt = every.get(name) if host in known_hosts else None
            else:
                fmt = {**services.get(head, {}), **containers.get(head, {})}.get(rest)
            if fmt is not None:
                parse(self.directory / file, fmt)
            elif not partly and Path(file).name not in (".gitkeep", "README.md"):
                raise RefusedError(
                    f"{self.directory / file}: this override applies to no service, container or host",
                    "run `scs config list` to see the valid names",
                )


def _files(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """All files below a folder, through links. Editors' backups, locks and swap files are left out."""
    if not folder.is_dir():
        if folder.is_symlink():
            raise RefusedError(f"{folder}: this link leads nowhere", f"it points to {folder.readlink()}")
        if folder.exists():
            raise RefusedError(f"{folder}: is neither a file nor a folder")
        return
    real = folder.resolve()
    if real in above:
        raise RefusedError(f"{folder}: this link leads to a folder above it")
    for entry in sorted(folder.iterdir()):
        if _EDITORS.search(entry.name):
            continue
        check_name(entry)
        if entry.is_file():
            yield entry
        else:
            yield from _files(entry, (*above, real))


def parse(file: Path, fmt: str) -> None:
    """Read an override as the file's reader does.

    :raises RefusedError: the reader would reject it; names file and line
    """
    text = read_text(file)
    try:
        flatten(text, fmt)
    except (ValueError, yaml.YAMLError) as error:
        raise _refusal(str(file), error, fmt) from None


def merge(base: str, layers: Iterable[Layer], fmt: str) -> str:
    """The layers merged into `base`. Without layers, the result is `base` byte for byte.

    :raises RefusedError: a layer cannot be parsed; names it
    """
    text = base
    for source, over in layers:
        try:
            merged = _MERGE[fmt](text, over)
            # an override with comments only, or with the values that are there, restarts nothing
            if fmt == "text" or _meaning(merged, fmt) != _meaning(text, fmt):
                text = merged
        except (ValueError, yaml.YAMLError) as error:
            raise _refusal(source, error, fmt) from None
    return text


def _meaning(text: str, fmt: str) -> object:
    return ini.meanings(ini.parse(text, fmt), fmt) if fmt in (ini.INI, ini.CNF) else flatten(text, fmt)


def _refusal(source: str, error: Exception, fmt: str) -> RefusedError:
    line, what = 0, str(error).splitlines()[0]
    if isinstance(error, ini.IniError | policy.PolicyError):
        line, what = error.line, error.what
    elif isinstance(error, json.JSONDecodeError):
        line, what = error.lineno, error.msg
    elif isinstance(error, yaml.MarkedYAMLError):
        line, what = (error.problem_mark.line + 1 if error.problem_mark else 0), error.problem or what
    reader = READERS.get(fmt, f"valid {fmt}")
    return RefusedError(f"{source}{f':{line}' if line else ''}: {what}", f"the file must be {reader}")


def flatten(text: str, fmt: str) -> dict[str, str]:
    """Key: value of a config text. Empty for formats without keys."""
    if fmt in (ini.INI, ini.CNF):
        return ini.flat(ini.parse(text, fmt), fmt)
    if fmt == policy.FORMAT:
        return policy.parse(text)
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


_ASSIGNMENT = re.compile(r"""(?P<head>\s*(?:- )?["']?(?P<key>[\w][\w .-]*?)["']?\s*[:=]\s*)(?P<value>\S.*)""")
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----\n).*?(-----END)", re.DOTALL)


def without_secrets(text: str, fmt: str, secrets: Iterable[str]) -> str:
    """A whole file for display. What `hide` hides of a value is `***` here."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    lines, hidden = [], False
    for line in _PRIVATE_KEY.sub(r"\1***\n\2", text).splitlines(keepends=True):
        if hidden and fmt == "ini" and line[:1] in " \t" and line.strip():
            # the value above continues
            continue
        found = None if line.lstrip()[:1] in ("#", ";") else _ASSIGNMENT.fullmatch(line.rstrip("\n"))
        hidden = found is not None and SECRET_KEY.search(found["key"]) is not None
        if found is not None and hidden:
            comma = "," if fmt == "json" and line.rstrip().endswith(",") else ""
            value = '"***"' if fmt == "json" else "***"
            line = f"{found['head']}{value}{comma}\n"
        lines.append(CREDENTIALS.sub("://***@", line))
    return "".join(lines)


def hide(key: str, value: str | None, secrets: tuple[str, ...]) -> str:
    """`value` for display, with credentials and secrets replaced."""
    if value is None:
        return "(not set)"
    if SECRET_KEY.search(key.rpartition("] ")[2] or key) or any(s in value for s in secrets):
        return "(hidden)"
    value = CREDENTIALS.sub("://(hidden)@", value)
    return value if len(value) <= 80 else value[:77] + "..."


def _merge_ini(base: str, over: str, dialect: str = ini.INI) -> str:
    return ini.dump(ini.merge(ini.parse(base, dialect), ini.parse(over, dialect)))


def _merge_yaml(base: str, over: str) -> str:
    layer = yaml.safe_load(over)
    return base if layer is None else yaml.safe_dump(_deep(yaml.safe_load(base), layer), sort_keys=False)


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
    "cnf": partial(_merge_ini, dialect=ini.CNF),
    "yaml": _merge_yaml,
    "json": _merge_json,
    policy.FORMAT: lambda base, over: policy.dump(policy.parse(base) | policy.parse(over)),
    "text": lambda _base, over: over,
}
