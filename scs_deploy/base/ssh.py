# SPDX-License-Identifier: Apache-2.0
"""Strict SSH options: use only the given key, accept only recorded host keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def options(known_hosts: Path) -> dict[str, str]:
    """Options for every connection, name: value as in ssh_config(5).

    :param known_hosts: file with the recorded host keys; ssh reads no other, not even the system's
    """
    return {
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
    }


def persistent(known_hosts: Path) -> dict[str, str]:
    """Options for connections that stay open for a minute, so that the next program needs no new one."""
    return {
        **options(known_hosts),
        "ControlMaster": "auto",
        "ControlPersist": "60s",
        "PreferredAuthentications": "publickey",
        # the default key exchange costs six times the CPU of this one
        "KexAlgorithms": "curve25519-sha256",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "15",
    }


def arguments(values: Mapping[str, str]) -> list[str]:
    """`-o name=value` for each option."""
    return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
