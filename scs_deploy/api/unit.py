# SPDX-License-Identifier: Apache-2.0
"""The page as a service of systemd on the manager. Sources: systemd.service(5), systemd.exec(5)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scs_deploy.api.server import Serving, address, check, take_files, tls_context
from scs_deploy.base import paths, systemd
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment

INSTEAD = "scs serve"


def name(environment: Environment) -> str:
    """The unit's name, without suffix."""
    return f"scs-serve-{environment.name}"


def arguments(environment: Environment, wanted: Serving) -> list[str]:
    """The command line after `scs`."""
    words = ["serve", "--environment", environment.name, "--listen", wanted.listen]
    for more in wanted.names:
        words += ["--name", more]
    if wanted.certificate and wanted.key:
        words += ["--certificate", str(wanted.certificate.resolve()), "--key", str(wanted.key.resolve())]
    return words + (["--public-only"] if wanted.public_only else [])


def units(
    environment: Environment, wanted: Serving, program: str, variables: Mapping[str, str], user: str
) -> dict[str, str]:
    """The unit, as file name: content. It runs as the user that owns the region, and may write nothing else.

    :param program: absolute path of scs
    """
    line = " ".join(systemd.quoted(word) for word in (program, *arguments(environment, wanted)))
    text = f"""\
# Written by `scs serve --install`.
[Unit]
Description=Page of the region {environment.name}
Wants=network-online.target
After=network-online.target

[Service]
{systemd.assignments(variables)}ExecStart={line}
User={user}
Restart=on-failure
RestartSec=5
NoNewPrivileges=yes
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_DAC_OVERRIDE

[Install]
WantedBy=multi-user.target
"""
    return {f"{name(environment)}.service": text}


def install(environment: Environment, wanted: Serving) -> list[Path]:
    """Write the unit and start it.

    :raises RefusedError: it would not start, systemd is not running, or the user is not root
    :raises ScsError: systemctl failed
    """
    address(wanted.listen)
    check(environment, wanted)
    if wanted.certificate or wanted.key:
        take_files(tls_context(), wanted.certificate, wanted.key)
    variables = systemd.variables() | {
        "SCS_ROOT": str(paths.root()), "SCS_ENVIRONMENTS": str(paths.environments().resolve()),
    }  # fmt: skip
    owner = sharing.user_name(environment.path.stat().st_uid)
    return systemd.install(units(environment, wanted, systemd.program(), variables, owner), INSTEAD)


def remove(environment: Environment) -> list[Path]:
    """Stop the page and remove its unit, if there is one.

    :raises ScsError: systemctl failed
    """
    return systemd.remove(name(environment))
