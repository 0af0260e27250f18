# SPDX-License-Identifier: Apache-2.0
"""A region's hosts: one play asks all of them at once. A host that does not answer is a failed row."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scs_deploy.base import paths
from scs_deploy.base.model import Model
from scs_deploy.desired import render
from scs_deploy.desired.scope import template_scope
from scs_deploy.doctor import machine
from scs_deploy.doctor.model import GIB, Check, Level, expiry, failed, ok, space, warning
from scs_deploy.engine import runner
from scs_deploy.inventory.model import Host
from scs_deploy.operations.certificates import Entry, now
from scs_deploy.region.region import Region

TOLERATED, WRONG = 0.5, 10.0
"""Seconds that a host's clock may certainly differ from the manager's: more is a warning; a failure."""

EVERYWHERE = {
    "/usr/local/libexec/scs-keeper": "roles/keeper/files/scs_keeper.py",
    "/etc/systemd/system/scs-keeper.service": "roles/keeper/files/scs-keeper.service",
    "/usr/local/libexec/scs-metrics": "roles/metrics/files/scs_metrics.py",
    "/etc/systemd/system/scs-metrics.service": "roles/metrics/files/scs-metrics.service",
}
"""Programs on every host: file in the collection scs.host."""

NETWORK = {
    "/usr/local/libexec/scs-network": "roles/network/files/scs_network.py",
    "/usr/local/libexec/scs_network_links.py": "roles/network/files/scs_network_links.py",
}
"""The same, on hosts whose network scs configures."""


ORDER = [Level.OK, Level.WARNING, Level.FAILED]
SSH = "22"
"""The port whose host keys known_hosts has under the plain address."""


class Facts(Model):
    """What the module `scs.core.doctor` reports."""

    time: float
    clock_state: int | None
    container: bool
    engine: dict[str, str]
    disks: dict[str, tuple[int, int]]
    memory: tuple[int, int]
    kernel: str
    newest_kernel: str
    reboot: bool
    cgroup2: bool
    missing_devices: tuple[str, ...]
    missing_modules: tuple[str, ...]
    programs: dict[str, str]


class Answer(Model):
    """The facts of a host, and the manager's clock before and after it was asked."""

    facts: Facts
    sent: float
    received: float


def checks(region: Region, names: Sequence[str], issued: Mapping[str, Entry]) -> Iterator[Check]:
    """All checks of these hosts.

    :param issued: certificates of the region by name; empty: they cannot be read
    """
    asked = {name: _question(region, region.inventory.hosts[name]) for name in names}
    task = {"name": "Look at the host", "scs.core.doctor": {"hosts": asked}}
    play = {"name": "Look at the hosts", "hosts": ",".join(names), "gather_facts": False, "tasks": [task]}
    result = runner.run_playbook(region.environment, [play], keep_results=True)
    for name in names:
        host = region.inventory.hosts[name]
        if name in result.unreachable:
            yield unreachable(region, host, result.unreachable[name])
        elif name in result.failures:
            yield failed("ssh", f"looking failed: {result.failures[name]}", f"scs console {name}", name)
        elif name not in result.results:
            said = " ".join(result.output.split())[-300:] or "no answer"
            yield failed("ssh", said, "repeat it as: scs --debug doctor", name)
        else:
            given = {k: result.results[name][k] for k in Answer.model_fields}
            yield from judge(host, Answer.model_validate(given), wanted(), issued)


def _question(region: Region, host: Host) -> dict[str, list[str]]:
    """What a host must have for the containers that run on it."""
    devices: dict[str, None] = {}
    modules: dict[str, None] = {}
    for service in region.catalog.services.values():
        for name, spec in service.containers.items():
            if host not in region.hosts_of(service.name, name):
                continue
            scope = template_scope(region).of(service, host, name)
            at = f"{service.directory / 'service.yml'}: containers.{name}"
            devices |= dict.fromkeys(render.leaves(spec.devices, scope, f"{at}.devices"))
            modules |= dict.fromkeys(render.leaves(spec.kernel_modules, scope, f"{at}.kernel_modules"))
    return {
        "devices": [d for d in devices if d],
        "modules": [m for m in modules if m],
        "programs": [*EVERYWHERE, *NETWORK],
    }


def wanted() -> dict[str, str]:
    """Path of each program of scs on hosts: hash of the one that this scs installs."""
    layer = paths.layer("host")
    return {path: _hash(layer / file) for path, file in (EVERYWHERE | NETWORK).items()}


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def unreachable(region: Region, host: Host, said: str) -> Check:
    """Why a host does not answer: an unknown host key has another remedy than a closed port."""
    port = str(host.connection.get("ansible_port", SSH))
    name, option = (host.address, "") if port == SSH else (f"[{host.address}]:{port}", f"-p {port} ")
    file = region.environment.known_hosts
    if known(file, name):
        return failed("ssh", said, f"check its power and network, then: scs console {host.name}", host.name)
    remedy = f"compare its key at its console, then: ssh-keyscan {option}{host.address} >> {file}"
    return failed("ssh", f"its host key is not recorded; {said}", remedy, host.name)


def known(file: Path, name: str) -> bool:
    """Whether a known_hosts file has a key of this host, as ssh reads the file."""
    command = ["ssh-keygen", "-F", name, "-f", str(file)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def judge(host: Host, answer: Answer, programs: Mapping[str, str], issued: Mapping[str, Entry]) -> Iterator[Check]:
    """What a host's answer means."""
    facts, name = answer.facts, host.name
    yield ok("ssh", "answers", name)
    yield clock(answer, name)
    yield disk(facts, name)
    yield memory(facts, name)
    if "error" in facts.engine:
        yield failed("engine", facts.engine["error"], f"scs bootstrap --host {name}", name)
    else:
        yield machine.engine(facts.engine, "engine", name)
    yield installed(facts, programs, name)
    yield reboot(facts, name)
    yield kernel(facts, name)
    if issued:
        yield from certificate([e for n, e in issued.items() if n.partition("/")[2] == name], name)


def clock(answer: Answer, host: str) -> Check:
    """The offset that is certain: the host read its clock after the question was sent and before its answer came."""
    at = answer.facts.time
    offset = at - answer.sent if at < answer.sent else max(at - answer.received, 0.0)
    seen = f"{offset:+.1f} s"
    remedy = f"scs bootstrap --host {host} installs chrony; then chronyc makestep there"
    if abs(offset) >= WRONG:
        return failed("clock", seen, remedy, host)
    if abs(offset) >= TOLERATED:
        return warning("clock", seen, remedy, host)
    if answer.facts.clock_state == machine.UNSYNCHRONISED and not answer.facts.container:
        return warning("clock", f"{seen}, not synchronised", remedy, host)
    return ok("clock", seen, host)


def disk(facts: Facts, host: str) -> Check:
    """The file system with the least space."""
    found = [space("disk", free, total, folder, host) for folder, (free, total) in facts.disks.items()]
    worst = max(found, key=lambda c: ORDER.index(c.level))
    if worst.level is not Level.OK:
        return worst
    folder, (free, _) = min(facts.disks.items(), key=lambda d: d[1][0])
    return ok("disk", f"{free / GIB:.0f} GiB free on {folder}", host)


def memory(facts: Facts, host: str) -> Check:
    """Available memory."""
    return space("memory", *facts.memory, "move guests away, or add memory", host)


def installed(facts: Facts, programs: Mapping[str, str], host: str) -> Check:
    """The programs of scs on a host, against those of this scs."""
    missing = [p for p in EVERYWHERE if p not in facts.programs]
    if missing:
        return failed("programs", f"missing: {', '.join(missing)}", f"scs bootstrap --host {host}", host)
    other = [p for p, found in facts.programs.items() if found != programs[p]]
    if not other:
        return ok("programs", "current", host)
    network = all(p in NETWORK for p in other)
    remedy = f"scs host network apply {host}" if network else f"scs bootstrap --host {host}"
    return warning("programs", f"of another scs: {', '.join(other)}", remedy, host)


def reboot(facts: Facts, host: str) -> Check:
    """Whether a reboot is pending."""
    remedy = f"scs node drain {host}, reboot it, scs node undrain {host}"
    if not facts.container and facts.newest_kernel and facts.newest_kernel != facts.kernel:
        return warning("reboot", f"{facts.newest_kernel} is installed, {facts.kernel} runs", remedy, host)
    if facts.reboot:
        return warning("reboot", "pending", remedy, host)
    return ok("reboot", "not needed", host)


def kernel(facts: Facts, host: str) -> Check:
    """What containers of this host need of its kernel."""
    lacking = [*facts.missing_devices, *(f"module {m}" for m in facts.missing_modules)]
    if lacking:
        remedy = "install the distribution's full kernel (linux-image-amd64), enable virtualization, load the modules"
        return failed("kernel", f"{facts.kernel} lacks {', '.join(lacking)}", remedy, host)
    if not facts.cgroup2:
        return warning("kernel", f"{facts.kernel}, cgroup v1", "boot with systemd.unified_cgroup_hierarchy=1", host)
    return ok("kernel", facts.kernel, host)


def certificate(entries: Sequence[Entry], host: str) -> Iterator[Check]:
    """The host's certificate in certificates.yml that expires first; nothing if it needs none."""
    left = {e.name: e.days(now()) for e in entries}
    if missing := [n for n, days in left.items() if days is None]:
        yield failed("certificate", f"no {missing[0]}", "scs secrets init, then scs apply", host)
        return
    known = {n: days for n, days in left.items() if days is not None}
    for name, days in sorted(known.items(), key=lambda item: item[1])[:1]:
        yield expiry("certificate", days, f"{days} d", f"scs certs rotate {name}", host)
