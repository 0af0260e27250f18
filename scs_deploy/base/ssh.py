# SPDX-License-Identifier: Apache-2.0
"""Options of ssh: only the given key, only host keys that were recorded before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def options(known_hosts: Path) -> dict[str, str]:
    """Options for every connection: name: value, ssh_config(5).

    :param known_hosts: where the host keys are recorded; no other file is read, not even the system's
    """
    return {
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
    }


def arguments(values: Mapping[str, str]) -> list[str]:
    """`-o name=value` for each option."""
    return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
