# SPDX-License-Identifier: Apache-2.0
"""A region as the manager has it: its files, locks, records, names, registry and certificates."""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scs_deploy.base.errors import ScsError
from scs_deploy.base.plural import counted
from scs_deploy.doctor import machine
from scs_deploy.doctor.model import Check, expiry, failed, ok, warning
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.images import registry
from scs_deploy.operations import certificates
from scs_deploy.operations.base import OPEN
from scs_deploy.operations.certificates import Entry, Target
from scs_deploy.region.region import Region
from scs_deploy.state import growth, lock, process
from scs_deploy.state.runs import Run, Status, recorded

LONG = timedelta(hours=24)
"""A lock that is held for longer is looked at."""

LOCKS = ("lock", "testbed.lock", "validate.lock", "prober.lock", "registry.lock")


def of_files(environment: Environment) -> Iterator[Check]:
    """Checks that need no valid description: the state folder, secrets' modes, locks, and run records."""
    yield machine.disk("disk state", environment.state)
    yield secret_modes(environment)
    yield owners(environment)
    if (group := sharing.shared_with(environment)) is not None:
        yield shared(environment, group)
    yield from locks(environment)
    yield runs(environment)
    yield grown(environment)


def secret_modes(environment: Environment) -> Check:
    """Secrets and keys must be readable for their owner only: ssh refuses other keys."""
    files = sharing.secret_files(environment)
    open_ = [p for p in files if stat.S_IMODE(p.stat().st_mode) & 0o077]
    if open_:
        paths = " ".join(map(str, open_))
        return failed("secret files", f"others may read: {_names(environment, open_)}", f"chmod 600 {paths}")
    return ok("secret files", f"{counted(len(files), 'file')}, mode 0600")


def owners(environment: Environment) -> Check:
    """All files of the state folder belong to the environment's owner, or a command of that user fails later."""
    owner = environment.path.stat().st_uid
    found = [environment.state, *environment.state.glob("*"), *sharing.secret_files(environment)]
    others = [p for p in found if p.exists() and p.stat().st_uid != owner]
    if others:
        user = sharing.user_name(owner)
        seen = f"not {user}'s: {_names(environment, others)}"
        return warning("ownership", seen, f"chown -R {user} {environment.path}")
    return ok("ownership", f"all files are {sharing.user_name(owner)}'s")


def shared(environment: Environment, group: int) -> Check:
    """Whether members of the group can read what they need."""
    if closed := sharing.unreadable(environment):
        remedy = f"scs env share {environment.name} --group {sharing.group_name(group)}"
        return warning("sharing", f"closed to the group: {_names(environment, closed)}", remedy)
    return ok("sharing", f"readable for the group {sharing.group_name(group)}")


def _names(environment: Environment, files: Sequence[Path]) -> str:
    shown = [str(p.relative_to(environment.path)) if p.is_relative_to(environment.path) else str(p) for p in files]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def locks(environment: Environment) -> Iterator[Check]:
    """The locks in the state folder. A dead holder's lock is free: the kernel released it."""
    for name in LOCKS:
        file = environment.state / name
        if file.exists() or name == lock.FILE:
            yield _lock(name, file)


def _lock(name: str, file: Path) -> Check:
    check = "lock" if name == lock.FILE else f"lock {name.removesuffix('.lock')}"
    if not lock.is_held(file):
        if (left := lock.left_behind(file)) is None:
            return ok(check, "free")
        return warning(check, f"left behind by {left}", "nothing holds it: see scs runs list, then scs runs resume")
    holder = lock.holder(file)
    if holder is None:
        return ok(check, "held")
    if holder.host == process.host() and not process.alive(holder.pid):
        seen = f"stale: held by a child of {holder}, which has ended"
        return failed(check, seen, f"fuser -v {file} shows the child; end it")
    if datetime.now(UTC) - holder.since > LONG:
        return warning(check, f"held by {holder}", "wait for that run, or end it: kill -INT PID")
    return ok(check, f"held by {holder}")


def runs(environment: Environment) -> Check:
    """The latest run that changed the region."""
    try:
        with recorded(environment) as store:
            latest = next(iter(store.list(1, changing=True)), None)
    except ScsError as error:
        return failed("runs", error.message, error.hint or "restore state/runs.sqlite3 from a backup")
    if latest is None:
        return ok("runs", "none yet")
    seen = f"{latest.id} (`{latest.command}`) is {latest.status}"
    if latest.status in OPEN:
        how = "scs runs resume" if latest.resume else "repeat the command"
        return warning("runs", seen, f"scs runs show {latest.id}, then {how} or scs runs abandon")
    return ok("runs", seen)


def grown(environment: Environment) -> Check:
    """How large run records, run files, snapshots, logs and backups on this machine are."""
    found = growth.sizes(environment)
    listed = ", ".join(f"{what} {size / (1 << 20):.1f} MiB" for what, size in found.items())
    return ok("state", listed or "empty")


def of_names(region: Region) -> Iterator[Check]:
    """What the manager's resolver says of the region's names."""
    api, place = region.environment.settings.api, region.environment.settings.registry
    yield name("external", api.external.name, str(api.external.address), failed)
    # hosts have it in /etc/hosts
    yield name("internal", api.internal.name, str(api.internal.address), warning)
    yield name("registry", place.address, "", failed)


def name(what: str, wanted: str, address: str, worse: Callable[[str, str, str], Check]) -> Check:
    """Resolve a name as clients do.

    :param address: that it must have; empty: any
    :param worse: the result if it does not resolve
    """
    check = f"dns {what}"
    try:
        found = sorted({str(r[4][0]) for r in socket.getaddrinfo(wanted, None, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        return worse(check, f"{wanted}: {said}", f"add {wanted} to DNS or /etc/hosts" + (address and f": {address}"))
    if address and address not in found:
        seen = f"{wanted} is {', '.join(found)}, not {address}"
        return failed(check, seen, "correct DNS or /etc/hosts, or api in environment.yml")
    return ok(check, wanted if [wanted] == found else f"{wanted} is {', '.join(found)}")


def of_registry(region: Region) -> Check:
    """Whether the registry answers the manager, with a certificate that it trusts."""
    api = registry.Api(region.environment)
    try:
        answer = api.get("")
    except ScsError as error:
        remedy = "scs images push starts it" if region.environment.settings.registry.managed else "start it"
        return failed("registry", error.message, remedy)
    if answer.status_code not in (200, 401):
        return failed("registry", f"{api.host}: HTTP {answer.status_code}", "another server uses its port: stop that")
    return ok("registry", f"{api.host} answers")


def of_certificates(region: Region, issued: Sequence[Entry]) -> Iterator[Check]:
    """Certificates by days left: the CAs, issued ones, and those that API and registry serve now."""
    for entry in issued:
        if entry.kind == "ca":
            yield _expiry(f"certificate CA {entry.name}", entry, "scs certs rotate --ca")
        if entry.kind == "removed":
            said = entry.problem.partition(":")[0]
            yield warning(f"certificate {entry.name}", said, certificates.REPLACE_CA)
    leaves = [e for e in issued if e.kind == "issued"]
    yield least("certificates", leaves, "scs secrets init, then scs apply")
    targets = [t for t in certificates.targets(region) if "/" not in t.leaf]
    served = certificates.served(region, targets)
    for leaf in dict.fromkeys(t.leaf for t in targets):
        own = [e for e, t in zip(served, targets, strict=True) if t.leaf == leaf]
        yield _served(region, leaf, own, [t for t in targets if t.leaf == leaf])


def _served(region: Region, leaf: str, entries: Sequence[Entry], targets: Sequence[Target]) -> Check:
    check = f"certificate {leaf}"
    silent = [e for e in entries if e.ends is None]
    if len(silent) == len(entries) and not deployed(region.environment):
        return warning(check, f"{targets[0].at}: {silent[0].problem}", "not deployed yet: scs apply")
    return least(check, entries, "scs status, then scs apply")


def least(check: str, entries: Sequence[Entry], remedy: str) -> Check:
    """The worst of some certificates: one with a problem, else the one that expires first."""
    wrong = [e for e in entries if e.problem and e.ends is None] or [e for e in entries if e.problem]
    if wrong:
        more = f" ({len(wrong)} of {len(entries)})" if len(entries) > 1 else ""
        return failed(check, f"{wrong[0].name} at {wrong[0].where}: {wrong[0].problem}{more}", remedy)
    dated = sorted((e for e in entries if e.ends), key=lambda e: e.ends or datetime.max.replace(tzinfo=UTC))
    if not dated:
        return failed(check, "none", "scs secrets init")
    return _expiry(check, dated[0], remedy if remedy.startswith("scs secrets") else "scs certs rotate")


def _expiry(check: str, entry: Entry, remedy: str) -> Check:
    days = entry.days(certificates.now()) or 0
    return expiry(check, days, f"{entry.name}: {days} d", remedy)


def deployed(environment: Environment) -> bool:
    """Whether the region was applied once."""
    with recorded(environment) as store:
        return any(_applied(run) for run in store.list(100, changing=True))


def _applied(run: Run) -> bool:
    return run.status is Status.DONE and run.follows


def vault(region: Region) -> Check:
    """Whether the secrets can be read, and none is missing."""
    try:
        return ok("secrets", f"{len(region.secrets)}, none missing")
    except ScsError as error:
        return failed("secrets", error.message, error.hint)
