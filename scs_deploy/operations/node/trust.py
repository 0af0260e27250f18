# SPDX-License-Identifier: Apache-2.0
"""The SSH key of a host that was installed anew: trusted when the operator names its fingerprint."""

from __future__ import annotations

import base64
import hashlib
import subprocess

from scs_deploy.base.errors import RefusedError
from scs_deploy.inventory import ssh
from scs_deploy.region.region import Region

STRANGE = ("Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED", "host key is known")
"""How OpenSSH words a wrong or unknown host key. It ends with code 255 for every failure, so only its text tells, which
it does not translate."""


def fingerprint(key: str) -> str:
    """`SHA256:...` of a public key `<type> <base64>`, as `ssh-keygen -l` prints it.

    :raises RefusedError: not a public key
    """
    try:
        raw = base64.b64decode(key.split()[1], validate=True)
    except (IndexError, ValueError):
        raise RefusedError(f"invalid SSH public key: {key[:60]}") from None
    return "SHA256:" + base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")


def matching(scan: str, wanted: str) -> str:
    """The key of `ssh-keyscan`'s output that has the fingerprint.

    :raises RefusedError: none has; names those that were offered
    """
    keys = [" ".join(line.split()[1:3]) for line in scan.splitlines() if line and not line.startswith("#")]
    offered = {fingerprint(k): k for k in keys}
    if wanted in offered:
        return offered[wanted]
    if not offered:
        raise RefusedError("the host offers no SSH key", "check its address, its power and its sshd")
    raise RefusedError(
        f"no SSH key of the host has the fingerprint {wanted}; it offers {', '.join(sorted(offered))}",
        "compare it on the host's console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
    )


def trust(region: Region, host: str, wanted: str) -> None:
    """Record the host's key in place of older ones when its fingerprint is the wanted one.

    :raises RefusedError: it is another one, or the host offers none
    """
    found = region.inventory.hosts[host]
    command = ["ssh-keyscan", "-T", "10", "-p", str(found.connection.get("ansible_port", 22)), found.address]
    try:
        scan = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except FileNotFoundError:
        raise RefusedError("ssh-keyscan: not installed", "make setup") from None
    except subprocess.TimeoutExpired:
        scan = ""
    port = found.connection.get("ansible_port", 22)
    name = found.address if port in (22, "22") else f"[{found.address}]:{port}"
    ssh.trust(region.environment, {name: matching(scan, wanted)})


def explain(host: str, said: str) -> RefusedError | None:
    """The refusal for a host whose key is not the known one; None when ssh failed for another reason."""
    if not any(words in said for words in STRANGE):
        return None
    return RefusedError(
        f"host {host} has a different SSH key than before",
        "if it was reinstalled: compare on its console with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`, "
        "then add --host-key-fingerprint SHA256:...",
    )
