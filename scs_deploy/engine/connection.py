# SPDX-License-Identifier: Apache-2.0
"""How to reach a host with plain ssh as Ansible would, from its variables in the inventory."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scs_deploy.base import ssh
from scs_deploy.base.model import Model
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.model import Host
from scs_deploy.inventory.synced import is_synced

KNOWN = frozenset(
    {
        "ansible_host",
        "ansible_port",
        "ansible_user",
        "ansible_ssh_private_key_file",
        "ansible_ssh_common_args",
        "ansible_ssh_extra_args",
        "ansible_connection",
        "ansible_become",
        "ansible_become_method",
        "ansible_become_user",
        "ansible_python_interpreter",
    }
)
"""The variables that are understood here. With any other one, only Ansible knows how to reach the host."""

PYTHON = "/usr/bin/python3"
SSH, SUDO = ("ssh", "ansible.builtin.ssh"), ("sudo", "ansible.builtin.sudo")
TRUE, FALSE = ("true", "yes", "on", "1", "y", "t"), ("false", "no", "off", "0", "n", "f")
"""Texts that Ansible reads as a boolean, in lower case."""


class Connection(Model):
    """How to run a program as root on a host."""

    host: str
    """its name"""
    ssh: tuple[str, ...]
    """the command line up to and including the address"""
    command: str
    """what runs there: Python as root, which reads its program from standard input"""


def of(environment: Environment, host: Host) -> Connection | None:
    """How to reach a host with ssh; None if its variables say something that only Ansible can do.

    That is another connection plugin, a password, a become method other than sudo, and the like. Ansible's precedence
    is kept: variables of the inventory come before the settings of environment.yml.
    """
    given: Mapping[str, Any] = host.connection
    if given.keys() - KNOWN or any(_vaulted(v) for v in given.values()):
        return None
    become = _boolean(given.get("ansible_become", environment.settings.ssh.user != "root"))
    python = str(given.get("ansible_python_interpreter", PYTHON))
    port = str(given.get("ansible_port", ""))
    plain = (
        become is not None
        and given.get("ansible_connection", "ssh") in SSH
        and given.get("ansible_become_method", "sudo") in SUDO
        and given.get("ansible_become_user", "root") == "root"
        # `auto` and the like ask the host first
        and python.startswith("/")
        and (port.isdecimal() or not port)
    )
    try:
        arguments = _arguments(environment, host, port) if plain else None
    except ValueError:
        # a quote without its counterpart
        arguments = None
    if arguments is None:
        return None
    return Connection(host=host.name, ssh=arguments, command=_command(python, bool(become)))


def _arguments(environment: Environment, host: Host, port: str) -> tuple[str, ...]:
    """The options of Ansible's ssh plugin, so that both share a connection. ssh takes the first value of an option."""
    given = host.connection
    user = str(given.get("ansible_user", environment.settings.ssh.user))
    key = str(given.get("ansible_ssh_private_key_file", environment.ssh_key))
    # without ansible_host, Ansible connects to the name, and the plugin of synced inventories sets it
    named = "ansible_host" in given or is_synced(environment.inventory)
    address = host.address if named else host.name
    words = ["ssh", *ssh.arguments({"BatchMode": "yes", **ssh.persistent(environment.known_hosts)})]
    words += [*(("-o", f"Port={port}") if port else ()), "-o", f'IdentityFile="{Path(key).expanduser()}"']
    words += ["-o", f'User="{user}"']
    for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args"):
        words += [word.strip() for word in shlex.split(str(given.get(name) or "")) if word.strip()]
    if not any("controlpath" in word.lower() for word in words):
        words += ["-o", f"ControlPath={_socket(address, port, user)}"]
    return (*words, address)


def _socket(address: str, port: str, user: str) -> str:
    """The socket of a connection that stays open: the one that Ansible's ssh plugin uses, too.

    `none` if this user has no folder for it, because ssh ends where it cannot make its socket.
    """
    chosen = os.environ.get("ANSIBLE_SSH_CONTROL_PATH_DIR")
    folder = Path(chosen) if chosen else Path.home() / ".ansible" / "cp"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return "none"
    if not os.access(folder, os.W_OK):
        return "none"
    name = hashlib.sha1(f"{address}-{port or None}-{user}".encode(), usedforsecurity=False).hexdigest()[:10]
    return f'"{folder / name}"'


def _command(python: str, become: bool) -> str:
    program = f"exec {shlex.quote(python)} -I -"
    # as in Ansible: sudo needs to allow root's shell only, and -n fails instead of asking for a password
    wrapped = f"exec sudo -H -n -u root /bin/sh -c {shlex.quote(program)}" if become else program
    return f"/bin/sh -c {shlex.quote(wrapped)}"


def _boolean(value: object) -> bool | None:
    text = str(value).lower()
    return True if text in TRUE else False if text in FALSE else None


def _vaulted(value: object) -> bool:
    """Whether a value was encrypted with ansible-vault: it must not become an argument, which others can see."""
    if not isinstance(value, str) or type(value) is str:
        return False
    from ansible._internal._datatag._tags import VaultedValue

    return bool(VaultedValue.is_tagged_on(value))
