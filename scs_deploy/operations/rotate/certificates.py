# SPDX-License-Identifier: Apache-2.0
"""Steps that exchange certificates, or the CA, while the region works.

Leaves: the new ones are issued while the old ones are valid, servers take them without a restart where they can, and
both are trusted, because one CA issued them. The CA: everybody trusts both before the new one issues anything, and the
old one is forgotten when nobody serves a certificate of it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from scs_deploy.base.errors import ScsError
from scs_deploy.images import registry as registries
from scs_deploy.operations import certificates as certs
from scs_deploy.operations.rotate.roll import Engine
from scs_deploy.operations.rotate.state import RotationStep
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki

USERS_ASK = "every user of the APIs has this region's new ca.crt, which holds both CAs"


def leaf_steps(engine: Engine, names: Sequence[str]) -> list[RotationStep]:
    """Exchange leaves.

    :param names: of certificates; empty: all that the region needs
    """

    def issue() -> str:
        region = engine.region()
        wanted = wanted_leaves(region.environment, region.inventory)
        done = pki.renew(region.environment, wanted, names or wanted)
        return f"issued: {', '.join(done)}"

    steps = [
        RotationStep("pending", "see that the region is as desired", engine.refuse_pending),
        RotationStep("issue", f"issue {', '.join(names) or 'every certificate'} anew, the old ones stay valid", issue),
    ]
    if not names or "registry" in names:
        steps.append(
            RotationStep("registry", "give the registry its new certificate", lambda: registry(engine.region()))
        )
    return [
        *steps,
        RotationStep("roll", "give servers their new certificates: reload, or restart one by one", engine.roll),
        RotationStep("verify", "read what every server serves", lambda: verify(engine.region())),
    ]


def ca_steps(engine: Engine, prepare_hosts: Callable[[], str]) -> list[RotationStep]:
    """Exchange the CA.

    :param prepare_hosts: has the hosts' Docker engines trust what ca.crt holds
    """

    def trust() -> str:
        pki.trust_next(engine.region().environment)
        return f"{engine.region().environment.ca_file} holds both CAs"

    def issue() -> str:
        region = engine.region()
        wanted = wanted_leaves(region.environment, region.inventory)
        return f"issued: {', '.join(pki.issue_with_next(region.environment, wanted)) or 'all before'}"

    def forget() -> str:
        region = engine.region()
        verify(region)
        pki.forget_previous(region.environment)
        return f"{region.environment.ca_file} holds the new CA only"

    return [
        RotationStep("pending", "see that the region is as desired", engine.refuse_pending),
        RotationStep("trust", "make the new CA, trusted beside the old one", trust),
        RotationStep("hosts-trust", "have the hosts trust both for the registry", prepare_hosts),
        RotationStep("roll-trust", "have every service trust both", engine.roll),
        RotationStep("issue", "let the new CA issue every certificate", issue, ask=USERS_ASK),
        RotationStep("registry", "give the registry its new certificate", lambda: registry(engine.region())),
        RotationStep("roll-issue", "give servers their new certificates: reload, or restart one by one", engine.roll),
        RotationStep(
            "forget", "see that nobody serves a certificate of the old CA, then trust the new one only", forget
        ),
        RotationStep("hosts-forget", "have the hosts trust the new CA only", prepare_hosts),
        RotationStep("roll-forget", "have every service trust the new CA only", engine.roll),
        RotationStep("verify", "read what every server serves", lambda: verify(engine.region())),
    ]


def registry(region: Region) -> str:
    """The managed registry with the certificate that certificates.yml holds; pulls that fail meanwhile are repeated."""

    if not region.environment.settings.registry.managed:
        return "this region's registry is managed elsewhere"
    return f"started anew: {', '.join(registries.ensure(region.environment)) or 'nothing, it has it'}"


def verify(region: Region) -> str:
    """Every server serves what certificates.yml holds.

    :raises ScsError: one does not, or cannot be read
    """
    found = certs.served(region, certs.targets(region))
    wrong = wrong_of(found)
    if wrong:
        raise ScsError(f"{len(wrong)} of {len(found)} servers: {'; '.join(wrong[:3])}", "scs certs list")
    return f"{len(found)} servers serve what was issued"


def wrong_of(entries: Iterable[certs.Entry]) -> list[str]:
    """`name (address): problem` of every entry that has one."""
    return [f"{e.name} ({e.where}): {e.problem}" for e in entries if e.problem]
