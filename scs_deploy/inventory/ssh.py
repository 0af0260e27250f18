# SPDX-License-Identifier: Apache-2.0
"""SSH connections to hosts: the command line, and the region's own known_hosts file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from scs_deploy.base import ssh
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.model import Host


def ssh_command(environment: Environment, host: Host, command: Sequence[str], terminal: bool) -> list[str]:
    """The ssh command line for a host. Uses only the region's key and known_hosts file.

    :raises RefusedError: this user may not read the key
    """
    sharing.check_may_connect(environment)
    arguments = ["ssh", "-i", str(environment.ssh_key), "-l", environment.settings.ssh.user]
    arguments += ssh.arguments({**ssh.options(environment.known_hosts), "LogLevel": "ERROR"})
    if port := host.connection.get("ansible_port"):
        arguments += ["-p", str(port)]
    if command and terminal:
        arguments.append("-t")
    arguments.append(host.address)
    return [*arguments, "--", shlex.join(command)] if command else arguments


def known_hosts(text: str, keys: Mapping[str, str]) -> str:
    """A known_hosts file's text with `keys` (name or address: host key) replacing older entries of the same names."""
    kept = [line for line in text.splitlines() if line and line.split()[0] not in keys]
    return "\n".join(sorted((*kept, *(f"{name} {key}" for name, key in keys.items())))) + "\n"


def trust(environment: Environment, keys: Mapping[str, str]) -> None:
    """Record host keys from a trusted source, such as the provider. Never use keys read from the network."""
    file = environment.known_hosts
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = file.read_text(encoding="utf-8") if file.is_file() else ""
    after = known_hosts(before, keys)
    if after != before:
        file.write_text(after, encoding="utf-8")
