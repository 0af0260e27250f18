# SPDX-License-Identifier: Apache-2.0
"""The region's secrets: a flat `name: value` mapping in `secrets.yml`, encrypted with ansible-vault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import parse_yaml
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import credentials, vault
from scs_deploy.secrets.generate import generate
from scs_deploy.spec.secret import Format

NONE: Mapping[str, Format] = {}

_HEAD = "---\n# Secrets of this region, name: value. Change them with `scs secrets edit`.\n"


def load(environment: Environment) -> dict[str, str]:
    """All secrets by name.

    :raises RefusedError: secrets.yml is missing or invalid, or the vault password is missing or wrong
    """
    return parse(vault.read(environment, environment.secrets_file), environment.secrets_file)


def parse(text: str, file: Path) -> dict[str, str]:
    """Validate the plain text of secrets.yml. Errors name keys, never values.

    :raises RefusedError: not YAML, or not a flat mapping of strings
    """
    data = parse_yaml(text, file)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise RefusedError(f"{file}: expected a mapping of names to values")
    for name, value in data.items():
        if not isinstance(name, str):
            raise RefusedError(f"{file}: {name}: the name must be a string", "quote it")
        if not isinstance(value, str):
            raise RefusedError(f"{file}: {name}: the value must be a string, got {type(value).__name__}", "quote it")
        if not value:
            raise RefusedError(
                f"{file}: {name}: the value is empty", "remove the line; scs secrets init generates a new value"
            )
    return data


def dump(values: dict[str, str]) -> str:
    """The plain text of secrets.yml, sorted by name."""
    return _HEAD + yaml.safe_dump(values, sort_keys=True, width=10000) if values else _HEAD + "{}\n"


def ensure(environment: Environment, names: Iterable[str], formats: Mapping[str, Format] = NONE) -> list[str]:
    """Add a random value for every missing name. Returns the added names, sorted.

    :param formats: of secrets that are no passwords
    :raises RefusedError: no vault password, or secrets.yml cannot be read
    """
    with vault.locked(environment):
        # this finishes an interrupted rotation; only then is the file's existence meaningful
        vault.password(environment)
        present = load(environment) if environment.secrets_file.exists() else {}
        added = sorted(set(names) - set(present))
        if added or not environment.secrets_file.exists():
            values = present | {name: generate(formats.get(name, Format.PASSWORD)) for name in added}
            vault.save(environment, environment.secrets_file, dump(values))
        return added


def announce(environment: Environment, names: Iterable[str], formats: Mapping[str, Format] = NONE) -> list[str]:
    """Generate the values that secrets will have as `<name>_next`, in one write, for servers to know them first.

    Secrets with a next or previous value are being rotated already and do not change.

    :param formats: of secrets that are no passwords
    :returns: names of the secrets with a next value that is new, sorted
    :raises RefusedError: no such secret, or secrets.yml cannot be read
    """
    with vault.locked(environment):
        values = load(environment)
        _refuse_missing(environment, names, values)
        suffixes = (credentials.NEXT, credentials.PREVIOUS)
        new = sorted(n for n in set(names) if not any(n + suffix in values for suffix in suffixes))
        for name in new:
            values[name + credentials.NEXT] = generate(formats.get(name, Format.PASSWORD))
        if new:
            vault.save(environment, environment.secrets_file, dump(values))
        return new


def _refuse_missing(environment: Environment, names: Iterable[str], values: Mapping[str, str]) -> None:
    if missing := sorted(set(names) - set(values)):
        raise RefusedError(f"{environment.secrets_file}: missing secret: {missing[0]}", "scs secrets init")


def replace(environment: Environment, names: Mapping[str, str], formats: Mapping[str, Format] = NONE) -> list[str]:
    """Give secrets new random values in one write. The old values are kept as `<name>_previous`.

    Secrets with a previous value are being rotated already and do not change. One with a next value gets that.

    :param names: secret: name of the first of its two users, or '' if its user does not change
    :param formats: of secrets that are no passwords
    :returns: names of the secrets with a new value, sorted
    :raises RefusedError: no such secret, or secrets.yml cannot be read
    """
    with vault.locked(environment):
        values = load(environment)
        _refuse_missing(environment, names, values)
        new = sorted(n for n in names if n + credentials.PREVIOUS not in values)
        for name in new:
            values[name + credentials.PREVIOUS] = values[name]
            announced = values.pop(name + credentials.NEXT, None)
            values[name] = announced or generate(formats.get(name, Format.PASSWORD))
            if first := names[name]:
                key = credentials.user_key(name)
                # No key means the first user. As a value, its name would be hidden like a secret in all output.
                if values.pop(key, None) is None:
                    values[key] = credentials.other(first, first)
        if new:
            vault.save(environment, environment.secrets_file, dump(values))
        return new


def forget_previous(environment: Environment, names: Iterable[str]) -> list[str]:
    """Remove `<name>_previous` of these secrets in one write. Returns the secrets that had one, sorted.

    :raises RefusedError: secrets.yml cannot be read
    """
    with vault.locked(environment):
        values = load(environment)
        gone = sorted(n for n in set(names) if values.pop(n + credentials.PREVIOUS, None) is not None)
        if gone:
            vault.save(environment, environment.secrets_file, dump(values))
        return gone


def being_rotated(values: Mapping[str, str]) -> list[str]:
    """Secrets that have a next or a previous value, sorted."""
    suffixes = (credentials.NEXT, credentials.PREVIOUS)
    return sorted({credentials.base(n) for n in values if n.endswith(suffixes)})
