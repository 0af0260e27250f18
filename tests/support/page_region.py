# SPDX-License-Identifier: Apache-2.0
"""A region with secrets, runs and announcements for the page to show, and what looks would report of it."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from scs_deploy.api import access, facts
from scs_deploy.api.facts import Kind
from scs_deploy.base import paths
from scs_deploy.base.model import Model
from scs_deploy.desired import resolve
from scs_deploy.desired.model import DesiredHost
from scs_deploy.engine import looking
from scs_deploy.inventory.diff import Diff
from scs_deploy.operations import certificates
from scs_deploy.plan.host import HostPlan
from scs_deploy.plan.ordering import Ordering
from scs_deploy.plan.region import assemble
from scs_deploy.prober.answering import public
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import clouds, pki, signing, store, vault
from scs_deploy.shared.monitoring import Alert, Silence, Target
from scs_deploy.spec import metrics
from scs_deploy.spec.release import load_release
from scs_deploy.state.measurement import Gap, Summary
from scs_deploy.state.runs import run_store

NAME = "berlin"
PASSWORD = "correct horse battery"
PACKAGES = {"nova-compute": "33.0", "keystone": "27.0"}
NOW = datetime.now(UTC)

ANNOUNCEMENTS = f"""\
announcements:
  - from: {(NOW - timedelta(hours=1)).isoformat()}
    until: {(NOW + timedelta(hours=1)).isoformat()}
    title: {{en: New memory, de: Neuer Speicher}}
    text: {{en: "Servers move.\\n\\nThey go on.", de: "Server ziehen um.\\n\\nSie laufen weiter."}}
  - from: {(NOW - timedelta(days=9)).isoformat()}
    until: {(NOW - timedelta(days=8)).isoformat()}
    title: {{en: Long ago, de: Lange her}}
    text: {{en: It is over., de: Es ist vorbei.}}
"""


@contextmanager
def environments(folder: Path) -> Iterator[None]:
    """The folder of environments, for this process and those that it starts."""
    before = os.environ.get("SCS_ENVIRONMENTS")
    os.environ["SCS_ENVIRONMENTS"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SCS_ENVIRONMENTS"]
        else:
            os.environ["SCS_ENVIRONMENTS"] = before


def describe(folder: Path, hosts: int = 3) -> Path:
    """The files of a region: three hosts with every role, and compute hosts in racks of twenty."""
    target = folder / NAME
    shutil.copytree(paths.root() / "environments" / "testbed-ha", target, ignore=shutil.ignore_patterns("state"))
    settings: dict[str, Any] = yaml.safe_load((target / "environment.yml").read_text(encoding="utf-8"))
    settings |= {
        "inventory": "inventory",
        "networks": {"management": {"cidr": "10.30.0.0/16"}, "provider": {"cidr": "10.31.0.0/16"}},
        "api": {
            "internal": {"address": "10.30.0.9", "name": "internal.berlin.example"},
            "external": {"address": "10.30.0.10", "name": "api.berlin.example"},
        },
        "registry": {"address": "10.30.0.1", "port": 5002},
    }
    (target / "environment.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    shutil.copytree(paths.root() / "inventories" / "testbed-ha", target / "inventory")
    shutil.rmtree(target / "inventory" / "host_vars")
    (target / "inventory" / "host_vars").mkdir()
    every = [*(f"control-{n}" for n in (1, 2, 3)), *(f"compute-{n}" for n in range(1, hosts - 2))]
    for number, host in enumerate(every, 11):
        own = {
            "ansible_host": str(ipaddress.IPv4Address("10.30.0.0") + number),
            "rack": f"rack-{number // 20}",
            "networks": {
                "management": {
                    "interface": "eth0",
                    "address": str(ipaddress.IPv4Address("10.30.0.0") + number),
                },
                "provider": {"interface": "eth1", "address": str(ipaddress.IPv4Address("10.31.0.0") + number)},
            },
        }
        (target / "inventory" / "host_vars" / f"{host}.yml").write_text(yaml.safe_dump(own), encoding="utf-8")
    control = {"hosts": dict.fromkeys(every[:3])}
    groups = {
        "control": control, "network": control, "storage": control, "monitoring": {"hosts": dict.fromkeys(every[:2])},
        "compute": {"hosts": dict.fromkeys(every)},
        "chassis": {"children": {"network": None, "compute": None}},
    }  # fmt: skip
    text = json.loads(json.dumps({"all": {"children": groups}}))
    (target / "inventory" / "hosts.yml").write_text(yaml.safe_dump(text), encoding="utf-8")
    (target / "announcements.yml").write_text(ANNOUNCEMENTS, encoding="utf-8")
    images = load_release(settings["release"]).images
    locked = {
        n: {"reference": f"scs/{n}", "digest": f"sha256:{i:064x}", "size": 10**8, "packages": PACKAGES}
        for i, n in enumerate(images)
    }
    lock = {"release": settings["release"], "images": locked}
    (target / "release.lock.yml").write_text(yaml.safe_dump(lock), encoding="utf-8")
    return target


def make(folder: Path, hosts: int = 3) -> Region:
    """The region with secrets, certificates and runs, as `scs secrets init` and `scs apply` leave it."""
    describe(folder, hosts)
    region = Region.load(NAME, reading=True)
    environment = region.environment
    vault.create_password(environment)
    names = [*region.catalog.secrets(), clouds.PASSWORD, signing.SECRET]
    store.ensure(environment, names, region.catalog.secret_formats)
    pki.ensure(environment, wanted_leaves(environment, region.catalog, region.inventory))
    clouds.write(environment)
    region = Region.load(NAME, reading=True)
    record_runs(region)
    return region


def with_authority(folder: Path) -> Region:
    """The region of `describe` with a CA and a password for its page, without secrets and certificates of hosts."""
    assert (folder / NAME).is_dir()
    region = Region.load(NAME, reading=True)
    vault.create_password(region.environment)
    pki.ensure(region.environment, {})
    access.set_password(region.environment, PASSWORD)
    return region


def of_hosts(region: Region) -> dict[Kind, Model]:
    """What looks would report of hosts and monitoring; needs no secrets."""
    return {Kind.CONTAINERS: states(region), Kind.MONITORING: monitored(region)}


def record_runs(region: Region) -> None:
    """A run that is done and was measured, and one that failed with a message that held a secret."""
    secrets = store.load(region.environment).values()
    gap = Gap(kind="compute list", begin=NOW.timestamp(), seconds=1.9)
    measured = Summary(
        kind="compute list", requests=100, failed=1, per_second=2, p50=0.02, p99=0.4, gap=gap, errors={"HTTP 503": 1}
    )
    with run_store(region.environment) as runs:
        with runs.start("scs apply", changes_total=2, secrets=secrets, operation="apply").recording() as done:
            number = done.step_started("Replace keystone", phase="roll", host="control-1", subject="keystone")
            done.step_finished(number, changes_done=2)
            done.measuring()([measured])
            done.plan(drift(region).plan.changes[:5])
        failed = runs.start("scs restart nova", changes_total=1, secrets=secrets, operation="restart")
        number = failed.step_started("Restart nova_api", phase="roll", host="control-2", subject="nova_api")
        leaked = next(iter(secrets))
        failed.step_finished(number, "failed", f"no answer to {leaked} <b>")
        failed.finish("failed", f"control-2: said {leaked}")


def _answer(region: Region, desired: DesiredHost) -> dict[str, Any]:
    """What a host reports on which every file of options differs and the first container has ended."""
    files, texts = {}, {}
    for file in desired.files.values():
        differs = not file.name.endswith((".key", ".pem")) and file.content
        files[file.path] = ("0" * 64 if differs else file.sha256, file.mode, file.uid, file.gid, 0.0)
        if differs:
            texts[file.path] = ""
    containers: dict[str, Any] = {}
    for place, (name, run) in enumerate(desired.containers.items()):
        containers[name] = {
            **run.body, "managed": True, "image_id": run.image, "image": run.image,
            "status": "running" if place else "exited", "exit_code": 0 if place else 1,
            "health": "healthy" if place else None, "started": NOW.isoformat(), "restarts": place % 3,
        }  # fmt: skip
    del region
    images = {r.image: r.image for r in desired.containers.values()}
    return {"files": files, "texts": texts, "containers": containers, "images": images, "free": 10**12}


def observed(region: Region, hosts: int = 3) -> tuple[list[HostPlan], list[dict[str, Any]]]:
    """(what differs, states of containers) on the first hosts."""
    plans, states = [], []
    for host in list(region.inventory.hosts)[:hosts]:
        desired = resolve.resolve(region, host)
        found = looking.judged(region, desired, _answer(region, desired), states=True)
        plans.append(HostPlan.model_validate(found["plan"]))
        states += found["states"]
    return plans, states


def drift(region: Region) -> facts.Drift:
    """A plan with reasons of all kinds, from the real comparison with the region's own secrets."""
    plans, _ = observed(region)
    waves = region.catalog.waves
    plan = assemble(plans, [], waves, frozenset(waves), ordering=Ordering.of(region))
    return facts.Drift(plan=plan.model_copy(update={"unavailable": ("haproxy",), "drained": ("control-3",)}))


def states(region: Region) -> facts.Containers:
    """All containers run, except the first one of control-1; compute-7 does not respond."""
    found: list[facts.State] = []
    for service in region.catalog.services.values():
        for name in service.containers:
            for host in region.hosts_of(service.name, name):
                lost = host.name == "compute-7"
                broken = host.name == "control-1" and not any(s.host == "control-1" for s in found)
                found.append(
                    facts.State(
                        host=host.name, service=service.name, container=name, health="" if lost else "healthy",
                        state="unreachable" if lost else "exited" if broken else "running", restarts=0,
                        started=NOW.isoformat(), image="sha256:443c221bd0ba",
                        reason="No route to host" if lost else "",
                    )
                )  # fmt: skip
    return facts.Containers(states=tuple(found), drained=("control-3",), storage="1 OSD is down")


def monitored(region: Region) -> facts.Monitored:
    """One critical alert of an API, one silenced, and curves for every container and endpoint."""
    alerts = [
        _alert("HAProxyServerErrors", "critical", "haproxy", "", proxy="compute"),
        _alert("HostDown", "warning", "prometheus", "control-2", silenced=True),
        _alert(metrics.WATCHDOG, "warning", "prometheus", ""),
    ]
    containers = [c for s in region.catalog.services.values() for c in s.containers]
    proxies = [e for s in region.catalog.services.values() for e in s.endpoints]
    begin = NOW.timestamp() - 6 * 3600

    def curves(names: list[str], top: float) -> tuple[facts.Series, ...]:
        return tuple(
            facts.Series(name=n, points=tuple((begin + 300 * i, top * (i % 7) / 7) for i in range(73)))
            for n in sorted(names)
        )

    return facts.Monitored(
        alerts=tuple(alerts), arrive=True,
        silences=(
            Silence(id="1", matchers={"host": "control-2"}, until=NOW + timedelta(hours=1), by="anna", comment="RAM"),
        ),
        targets=tuple(
            Target(job=c, host=h.name, up=h.name != "control-3", error="refused", active_only=False)
            for s in region.catalog.services.values()
            for c, spec in s.containers.items()
            if spec.metrics
            for h in region.hosts_of(s.name, c)
        ),
        charts={
            "cpu": curves(containers, 2), "memory": curves(containers, 2**31), "requests": curves(proxies, 40),
            "errors": curves(proxies, 1), "latency": curves(proxies, 0.4),
        },
    )  # fmt: skip


def _alert(name: str, severity: str, service: str, host: str, silenced: bool = False, **labels: str) -> Alert:
    return Alert(
        name=name, severity=severity, service=service, host=host, summary=f"{name}: something", impact="none",
        runbook=f"docs/runbooks/{service}.md#{name.lower()}", since=NOW, silenced=silenced, inhibited=False,
        labels={"alertname": name, **labels},
    )  # fmt: skip


def all_facts(region: Region) -> dict[Kind, Model]:
    """What looks would report."""
    entries = certificates.known(region)
    return {
        Kind.CONTAINERS: states(region),
        Kind.PLAN: drift(region),
        Kind.MONITORING: monitored(region),
        Kind.ANSWERS: facts.Answers(
            reasons={e.name: "connection refused" if e.name == "image" else "" for e in public(region)}
        ),
        Kind.CERTIFICATES: facts.Certificates(
            entries=tuple(entries), problems=tuple(certificates.problems(entries, 30, certificates.now()))
        ),
        Kind.BACKUPS: facts.Backups(
            target="/backups", damaged={"20260101T000000Z": "interrupted: it has no manifest"}, unchecked="",
            backups=(
                facts.Backup(
                    id="20260131T023000Z", started=NOW - timedelta(hours=5), release="2025.1", kind="full", base="",
                    size=10**9, seconds=80, parts=("mariadb", "keystone_keys"), authentic="yes", verified="2026-01-31",
                ),
            ),
        ),
        Kind.INVENTORY: facts.Differences(source="netbox", diff=Diff(hosts=(), region=("more hosts",)), problems=()),
    }  # fmt: skip
