# SPDX-License-Identifier: Apache-2.0
"""A testbed's changes on the manager itself: names in /etc/hosts and the SSH key."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from ipaddress import IPv4Network
from pathlib import Path

from scs_deploy.base.errors import ScsError
from scs_deploy.environment.environment import Environment

HOSTS = Path("/etc/hosts")


def with_block(text: str, environment: str, names: Iterable[tuple[str, str]]) -> str:
    """Insert or replace the testbed's block of (address, name) in the text of a hosts file. No names: remove it."""
    begin, end = f"# BEGIN scs testbed {environment}", f"# END scs testbed {environment}"
    rest = re.sub(rf"^{re.escape(begin)}\n.*?^{re.escape(end)}\n", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [f"{address} {name}" for address, name in names]
    if not lines:
        return rest
    if rest and not rest.endswith("\n"):
        rest += "\n"
    return rest + "\n".join((begin, *lines, end)) + "\n"


def set_names(environment: str, names: Iterable[tuple[str, str]], file: Path = HOSTS) -> bool:
    """Write the testbed's block to the manager's hosts file, or remove it if there are no names.

    :returns: whether the file changed

    :raises ScsError: the file cannot be written
    """
    try:
        before = file.read_text(encoding="utf-8")
        after = with_block(before, environment, names)
        if after == before:
            return False
        # in place: in a container, this file is a mount and cannot be replaced by renaming
        file.write_text(after, encoding="utf-8")
    except OSError as error:
        raise ScsError(f"{file}: {error.strerror}", "the testbed needs root: run sudo make testbed") from None
    return True


def ensure_key(environment: Environment) -> str:
    """The public half of the environment's SSH key, which is generated if missing.

    :raises ScsError: ssh-keygen failed
    """
    key = environment.ssh_key
    public = key.with_name(key.name + ".pub")
    if not key.is_file():
        key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        public.unlink(missing_ok=True)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"scs-{environment.name}", "-f", str(key))
    if not public.is_file():
        public.write_text(_run("ssh-keygen", "-y", "-f", str(key)), encoding="utf-8")
    return public.read_text(encoding="utf-8").strip()


def routes() -> dict[str, IPv4Network]:
    """The manager's IPv4 routes without default routes: description: network."""
    return parse_routes(_run("ip", "-json", "-4", "route"))


def parse_routes(text: str) -> dict[str, IPv4Network]:
    """Parse the output of `ip -json -4 route` for `routes`."""
    networks = {}
    for route in json.loads(text or "[]"):
        if route["dst"] != "default":
            network = IPv4Network(route["dst"], strict=False)
            networks[f"the route to {network} on {route.get('dev', 'this machine')}"] = network
    return networks


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise ScsError(f"{command[0]}: not installed", "run make setup") from None
    except subprocess.CalledProcessError as error:
        raise ScsError(f"{command[0]}: {' '.join(error.stderr.split())}") from None
