# SPDX-License-Identifier: Apache-2.0
"""Ansible's own reader of inventories, made strict: what Ansible only warns of is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory import files
from scs_deploy.secrets import vault

Variables = dict[str, Any]
Places = dict[str, str]
"""variable: `file:line` of its value"""

_OWN = {
    "inventory_file",
    "inventory_dir",
    "inventory_hostname",
    "inventory_hostname_short",
    "group_names",
    "playbook_dir",
    "groups",
    "omit",
    "environment",
    "vars",
}
_HARMLESS = ("Invalid characters were found in group names", "Found both group and host with same name")
"""Warnings that change neither hosts nor groups nor variables. `checks` refuses the second one with its place."""


class _WarningError(Exception):
    """A warning of Ansible's."""

    def __init__(self, place: str, text: str, hint: str) -> None:
        super().__init__(text)
        self.place, self.text, self.hint = place, text, hint


def read(environment: Environment, path: Path) -> dict[str, tuple[Variables, list[str], Places]]:
    """Each host's variables, its groups, and where the variables are set.

    :raises RefusedError: a file that Ansible cannot parse or would skip, a variable that cannot be decrypted or is
        undefined; names file and line
    """
    files.check(path)
    # imported here: Ansible takes 0.3 s to load and commands without an inventory do not need it
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.vars.manager import VariableManager

    loader = DataLoader()
    try:
        with _decrypting(environment, path, loader), _strict():
            manager = InventoryManager(loader=loader, sources=[str(path)])
            variables = VariableManager(loader=loader, inventory=manager)
            result = {}
            for host in manager.get_hosts():
                plain = variables.get_vars(host=host, include_hostvars=False)
                groups = sorted(g.name for g in host.get_groups() if g.name not in ("all", "ungrouped"))
                result[host.name] = (*_templated(host.name, plain, loader, environment), groups)
    except (AnsibleError, _WarningError) as error:
        _refuse_warning(error, path)
        raise RefusedError(f"{_place(error) or path}: {_message(error)}", _hint(error, environment)) from None
    return {name: (own, groups, places) for name, (own, places, groups) in result.items()}


def _templated(host: str, plain: Variables, loader: Any, environment: Environment) -> tuple[Variables, Places]:
    from ansible.errors import AnsibleError
    from ansible.template import Templar

    templar = Templar(loader=loader, variables=plain)
    own, places = {}, {}
    for key, value in plain.items():
        if not isinstance(key, str):
            raise RefusedError(
                f"{_origin(key) or _origin(value)}: the name of a variable is a string, and YAML reads {key!r}",
                "quote it",
            )
        if key in _OWN or _magic(key):
            continue
        if at := _origin(value):
            places[key] = at
        try:
            own[key] = templar.template(value)
        except AnsibleError as error:
            at = _place(error) or at
            raise RefusedError(
                f"{at}{': ' if at else ''}{key}: {_message(error)} (host {host})", _hint(error, environment)
            ) from None
    return own, places


@contextmanager
def _decrypting(environment: Environment, path: Path, loader: Any) -> Iterator[None]:
    """Decrypt files and values with the region's vault password, which is read only if something is encrypted."""
    at = files.encrypted(path)
    if not at:
        yield
        return
    from ansible.parsing.vault import VaultSecret, VaultSecretsContext

    try:
        secrets = [("default", VaultSecret(vault.password(environment)))]
    except RefusedError as error:
        raise RefusedError(f"{at}: is encrypted with ansible-vault, and {error.message}", error.hint) from None
    loader.set_vault_secrets(secrets)
    # single values are decrypted when they are used, with the secrets of the process
    before, VaultSecretsContext._current = VaultSecretsContext._current, VaultSecretsContext(secrets)
    try:
        yield
    finally:
        VaultSecretsContext._current = before


@contextmanager
def _strict() -> Iterator[None]:
    """Raise what Ansible would only warn of.

    Ansible keeps the hosts that it could read and goes on, which would silently shrink a region.
    """
    from ansible.utils.display import Display

    failures: list[BaseException] = []

    def warning(msg: str, *_args: object, obj: Any = None, help_text: str | None = None, **_more: object) -> None:
        if msg.startswith(_HARMLESS):
            return
        if source := re.fullmatch(r"Unable to parse (.*) as an inventory source", msg):
            _refuse_source(Path(source[1]), failures)
        raise _WarningError(_origin(obj), msg.rstrip("."), help_text or "")

    def error_as_warning(_msg: str | None = None, exception: BaseException | None = None, **_more: object) -> None:
        if exception is not None:
            failures.append(exception)

    display = Display()
    replaced: dict[str, Callable[..., None]] = {"warning": warning, "error_as_warning": error_as_warning}
    vars(display).update(replaced)
    try:
        yield
    finally:
        for name in replaced:
            vars(display).pop(name, None)


def _refuse_source(file: Path, failures: list[BaseException]) -> None:
    """:raises RefusedError: with the words of the parser for this kind of file, which Ansible tried among others"""
    if file.is_dir():
        raise RefusedError(f"{file}: no inventory file in this folder")
    for failure in failures:
        _refuse_warning(failure, file)
    yaml_like = file.suffix in (".yml", ".yaml", ".json")
    said = [(_place(e), _message(e)) for e in failures]
    own = [s for s in said if s[0].startswith(f"{file}:")] or said
    # Ansible asks its parsers in a fixed order: YAML before INI
    place, message = (own[0] if yaml_like else own[-1]) if own else ("", "not an inventory")
    if yaml_like and not place:
        message = next((m for _, m in said if "root 'plugin' key" not in m), message)
    raise RefusedError(f"{place or file}: {message}", "Ansible would continue without the hosts in this file")


def _refuse_warning(error: BaseException, file: Path) -> None:
    """:raises RefusedError: if `error` is a warning or wraps one, as Ansible's parsers do"""
    for cause in _chain(error):
        if isinstance(cause, _WarningError):
            raise RefusedError(f"{cause.place or file}: {cause.text}", cause.hint) from None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _place(error: BaseException) -> str:
    """`file:line` that an error or one of its causes names, the innermost first; else empty."""
    return next((at for e in reversed(list(_chain(error))) if (at := _origin(getattr(e, "obj", None)))), "")


def _message(error: BaseException) -> str:
    """The innermost message, on one line."""
    said = [e for e in _chain(error) if str(e)]
    text = str(getattr(said[-1], "message", None) or said[-1]) if said else type(error).__name__
    return " ".join(text.split()).rstrip(".")


def _hint(error: BaseException, environment: Environment) -> str:
    text = " ".join(str(e) for e in _chain(error)).lower()
    if "vault" in text or "decrypt" in text:
        return f"encrypt it with the vault password of environment {environment.name}: ansible-vault encrypt_string"
    return "define the variable for this host, or correct its name" if "is undefined" in text else ""


def _origin(value: Any) -> str:
    """`file:line` that Ansible's parser attached to a value, or empty."""
    from ansible._internal._datatag._tags import Origin

    tag = Origin.get_tag(value) or (value if isinstance(value, Origin) else None)
    return f"{tag.path}:{tag.line_num or 1}" if tag is not None and tag.path else ""


def _magic(key: str) -> bool:
    """Whether Ansible sets it itself: always, or of its own command line, where scs runs inside of Ansible."""
    return key in (
        "ansible_facts",
        "ansible_version",
        "ansible_playbook_python",
        "ansible_config_file",
        "ansible_forks",
        "ansible_inventory_sources",
        "ansible_limit",
        "ansible_run_tags",
        "ansible_skip_tags",
        "ansible_verbosity",
    ) or (key.startswith("ansible_") and key.endswith("_mode"))
