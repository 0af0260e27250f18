# SPDX-License-Identifier: Apache-2.0
"""The steps that rotate certificates or the CA while the region keeps working.

Leaves: new ones are issued while the old ones are valid. Servers load them without a restart if they can. Clients trust
both, because the same CA issued them. The CA: every client trusts both CAs before the new one issues anything, and the
old one is removed once no server presents a certificate that it issued.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from scs_deploy.base.errors import ScsError
from scs_deploy.base.plural import counted
from scs_deploy.images.registry import ensure as ensure_registry
from scs_deploy.operations import certificates
from scs_deploy.operations.rotate.roll import Engine
from scs_deploy.operations.rotate.state import RotationStep
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki

USERS_ASK = "all API users have this region's new ca.crt, which contains both CAs"


def leaf_steps(engine: Engine, names: Sequence[str]) -> list[RotationStep]:
    """Steps that rotate leaf certificates.

    :param names: of certificates; empty: all that the region needs
    """

    def issue() -> str:
        region = engine.region()
        wanted = wanted_leaves(region.environment, region.catalog, region.inventory)
        done = pki.renew(region.environment, wanted, names or wanted)
        return f"issued: {', '.join(done)}"

    steps = [
        RotationStep("pending", "check that no changes are pending", engine.refuse_pending),
        RotationStep("issue", f"issue new certificates: {', '.join(names) or 'all'}; the old ones stay valid", issue),
    ]
    if not names or "registry" in names:
        steps.append(
            RotationStep("registry", "install the registry's new certificate", lambda: registry(engine.region()))
        )
    return [
        *steps,
        RotationStep(
            "roll", "install new certificates on servers: reload them, or restart one host at a time", engine.roll
        ),
        RotationStep("verify", "verify the certificates that servers present", lambda: verify(engine.region())),
    ]


def ca_steps(engine: Engine, prepare_hosts: Callable[[], str]) -> list[RotationStep]:
    """Steps that rotate the CA.

    :param prepare_hosts: has the hosts' Docker engines trust the CAs in ca.crt
    """

    def trust() -> str:
        region = engine.region()
        pki.trust_next(region.environment, wanted_leaves(region.environment, region.catalog, region.inventory))
        return f"{region.environment.ca_file} contains both CAs"

    def issue() -> str:
        region = engine.region()
        wanted = wanted_leaves(region.environment, region.catalog, region.inventory)
        return f"issued: {', '.join(pki.issue_with_next(region.environment, wanted)) or 'none, all were issued before'}"

    def forget() -> str:
        region = engine.region()
        verify(region)
        pki.forget_previous(region.environment)
        return f"{region.environment.ca_file} contains only the new CA"

    return [
        RotationStep("pending", "check that no changes are pending", engine.refuse_pending),
        RotationStep("trust", "create the new CA, trusted in addition to the old one", trust),
        RotationStep("hosts-trust", "have hosts trust both CAs for the registry", prepare_hosts),
        RotationStep("roll-trust", "have every service trust both CAs", engine.roll),
        RotationStep("issue", "issue every certificate with the new CA", issue, ask=USERS_ASK),
        RotationStep("registry", "install the registry's new certificate", lambda: registry(engine.region())),
        RotationStep(
            "roll-issue", "install new certificates on servers: reload them, or restart one host at a time", engine.roll
        ),
        RotationStep(
            "forget", "check that no server presents a certificate of the old CA, then trust only the new one", forget
        ),
        RotationStep("hosts-forget", "have hosts trust only the new CA", prepare_hosts),
        RotationStep("roll-forget", "have every service trust only the new CA", engine.roll),
        RotationStep("verify", "verify the certificates that servers present", lambda: verify(engine.region())),
    ]


def registry(region: Region) -> str:
    """Restart the managed registry with its certificate in certificates.yml. Pulls that fail meanwhile are retried."""

    if not region.environment.settings.registry.managed:
        return "scs does not manage this region's registry"
    return f"restarted: {', '.join(ensure_registry(region.environment)) or 'nothing, it is up to date'}"


def verify(region: Region) -> str:
    """Check that every server presents its certificate from certificates.yml.

    :raises ScsError: a server does not, or cannot be read
    """
    entries = certificates.served(region, certificates.targets(region))
    wrong = wrong_of(entries)
    if wrong:
        raise ScsError(f"{len(wrong)} of {counted(len(entries), 'server')}: {'; '.join(wrong[:3])}", "scs certs list")
    return f"{counted(len(entries), 'server')} verified"


def wrong_of(entries: Iterable[certificates.Entry]) -> list[str]:
    """`name (address): problem` for every entry with a problem."""
    return [f"{e.name} ({e.where}): {e.problem}" for e in entries if e.problem]
