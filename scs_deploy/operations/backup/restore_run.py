# SPDX-License-Identifier: Apache-2.0
"""Carries out the steps of a restore."""

from __future__ import annotations

import io
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.base import RecoveryStep
from scs_deploy.clusters.galera import backup as physical
from scs_deploy.clusters.galera import procedure as members
from scs_deploy.desired import resolve
from scs_deploy.engine.access import Access
from scs_deploy.engine.events import Stage, Watch
from scs_deploy.engine.remote import Command
from scs_deploy.operations.backup import crypt, parts, source, stream, unpack, verify
from scs_deploy.operations.backup.choose import Chosen
from scs_deploy.operations.backup.manifest import DATABASE, ENVIRONMENT
from scs_deploy.operations.backup.restore_plan import RestorePlan
from scs_deploy.operations.backup.stream import Meter, Remote
from scs_deploy.region.region import Region
from scs_deploy.shared import compute_node

STATES = """
docker ps --all --format '{{.Names}} {{.State}}'
docker ps --filter health=starting --format '{{.Names}} starting'
docker ps --filter health=unhealthy --format '{{.Names}} unhealthy'
"""
"""sh -e; the state of each container, then the health of those that are not healthy: later lines replace earlier ones.
The format has no field for the health; the column `Status` contains it only as prose."""

SLOW = 3600
"""Seconds that a step on a host's disk may take."""


WAKE_SECONDS = 900.0
"""Seconds to wait until all stopped services are healthy again."""


class Restoring:
    """A restore in progress."""

    def __init__(self, region: Region, chosen: Chosen, plan: RestorePlan, secret: str, watch: Watch) -> None:
        self.region, self.chosen, self.plan, self.secret, self.watch = region, chosen, plan, secret, watch
        self.stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self.extracted = ""
        self.uncertain: tuple[str, ...] = ()

    def act(self, access: Access, step: RecoveryStep) -> None:
        """Carry out a step.

        :raises ScsError: the step failed
        """
        actions: dict[str, Callable[[Access, RecoveryStep], None]] = {
            "extract": self._extract,
            "stage": self._stage,
            "quiet": self._quiet,
            "wake": self._wake,
            "stop": lambda s, t: s.containers("stop", DATABASE, t.hosts),
            "copy": self._copy,
            "swap": lambda s, t: self._script(s, t, physical.SWAP),
            "start": self._start,
            "compare": self._compare,
            "join": self._join,
            "identify": self._identify,
            "load": self._load,
        }
        actions[step.action](access, step)

    def _extract(self, _access: Access, _step: RecoveryStep) -> None:
        part = self.chosen.backup.part(ENVIRONMENT)
        assert part
        buffer = io.BytesIO()
        unpack.plain(self.chosen.target, self.chosen.backup, part, self.secret, buffer)
        folder = self.region.environment.state / "restored" / f"{self.chosen.backup.id}-{self.stamp}"
        folder.mkdir(mode=0o700, parents=True)
        self.extracted = str(extract(folder, buffer.getvalue()))
        kept = self.region.environment.settings.keep.restored
        for old in sorted(folder.parent.iterdir(), key=lambda f: f.stat().st_mtime)[:-kept]:
            shutil.rmtree(old, ignore_errors=True)

    def _stage(self, _access: Access, step: RecoveryStep) -> None:
        host = step.hosts[0]
        run = resolve.resolve(self.region, host, {DATABASE}).containers[DATABASE]
        try:
            for number, owner in enumerate(self.chosen.links):
                part = owner.part(DATABASE)
                assert part
                meter = Meter(self.watch, f"unpacking {owner.id} on {host}")
                with Remote(
                    self.region, host, stream.beside(run, physical.extract_argv(physical.STAGE, number))
                ) as remote:
                    counter = crypt.Counter(remote.input, meter)
                    unpack.plain(self.chosen.target, owner, part, self.secret, counter)
            self.watch(Stage(f"applying the log on {host}"))
            stream.output_of(
                self.region, host, stream.beside(run, physical.prepare_argv(physical.STAGE, len(self.chosen.links)))
            )
        except BaseException:
            stream.output_of(self.region, host, stream.beside(run, ["rm", "-rf", physical.STAGE]))
            raise

    def _quiet(self, access: Access, _step: RecoveryStep) -> None:
        self._containers(access, "stop", reverse=True)

    def _wake(self, access: Access, step: RecoveryStep) -> None:
        """Start all containers, then wait for all, since services wait for each other by themselves."""
        self._containers(access, "start")

        def ready() -> str:
            waiting = [w for host in step.hosts for w in self._not_ready(host)]
            return f"{len(waiting)} starting: {', '.join(waiting[:4])}" if waiting else ""

        access.until(ready, WAKE_SECONDS, "some services do not work")

    def _containers(self, access: Access, action: str, reverse: bool = False) -> None:
        """Act on all hosts at once, without a drain, because these services cannot serve requests anyway."""
        catalog = self.region.catalog
        where = self.plan.quiet if action == "stop" else self.plan.quiet | self.plan.beside
        order = [c for s in catalog.services.values() for c in s.containers if c in where]
        groups: dict[tuple[str, ...], list[str]] = {}
        for container in reversed(order) if reverse else order:
            groups.setdefault(where[container], []).append(container)
        for hosts, names in groups.items():
            actions = [{"action": action, "container": c, "wait": False} for c in names]
            self.watch(Stage(f"{action} {', '.join(names)}"))
            task = {"name": f"{action.capitalize()} containers", "scs.core.containers": {"actions": actions}}
            access.task(task, hosts)

    def _not_ready(self, host: str) -> list[str]:
        """Stopped containers of a host that do not work yet."""
        states = dict(line.split() for line in stream.output_of(self.region, host, ["sh", "-ec", STATES]).splitlines())
        return [f"{c} on {host}: {states[c]}" for c in self.plan.quiet if states.get(c, "running") != "running"]

    def _copy(self, access: Access, step: RecoveryStep) -> None:
        task = {"volume": DATABASE, "name": self.stamp, "exclude": [*members.REMADE, Path(physical.STAGE).name]}
        access.task({"name": "Copy", "scs.core.volume_copy": task}, step.hosts)

    def _script(self, access: Access, step: RecoveryStep, script: str) -> None:
        argv = ("bash", "-ec", f"set -o pipefail\n{script}", "restore")
        command = Command(container=DATABASE, argv=argv, one_shot=True, timeout=SLOW)
        access.require({h: [command] for h in step.hosts})

    def _start(self, access: Access, step: RecoveryStep) -> None:
        access.containers("start", DATABASE, step.hosts)
        members.wait_synced(access, step.hosts[0], members.START_SECONDS)

    def _compare(self, _access: Access, step: RecoveryStep) -> None:
        database = self.chosen.backup.database
        assert database
        self.watch(Stage(f"counting rows on {step.hosts[0]}"))
        self.uncertain = verify.compare(database, source.count(self.region, step.hosts[0]))

    def _join(self, access: Access, step: RecoveryStep) -> None:
        self._script(access, step, physical.FORGET)
        access.containers("start", DATABASE, step.hosts)
        members.wait_synced(access, step.hosts[0], members.JOIN_SECONDS)

    def _identify(self, access: Access, step: RecoveryStep) -> None:
        """Set the identities of compute nodes, since fresh hosts have generated ones that differ from the database."""
        nodes = dict(source.pairs(self.region, step.target, compute_node.QUERY))
        for task in compute_node.tasks(self.region, nodes):
            access.task(task, step.hosts)

    def _load(self, _access: Access, step: RecoveryStep) -> None:
        saved = parts.declared(self.region.catalog)[step.target]
        part = self.chosen.backup.part(step.target)
        assert part
        argv = stream.loading(saved.load)
        for host in step.hosts:
            self.watch(Stage(f"loading {step.target} on {host}"))
            if saved.offline:
                owner = self.region.catalog.owner[saved.container]
                run = resolve.resolve(self.region, host, {owner}).containers[saved.container]
                command = stream.beside(run, argv)
            else:
                command = stream.inside(saved.container, argv)
            with Remote(self.region, host, command) as remote:
                unpack.plain(self.chosen.target, self.chosen.backup, part, self.secret, remote.input)


def extract(folder: Path, data: bytes) -> Path:
    """Unpack the region's description into an empty folder.

    :raises ScsError: the archive is damaged
    """
    top = folder.resolve()
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                path = (top / member.name).resolve()
                if not path.is_relative_to(top) or not (member.isfile() or member.isdir()):
                    raise ScsError(f"{member.name}: neither a file nor a folder below {folder}")
                (path if member.isdir() else path.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
                if content := tar.extractfile(member):
                    # keep files private
                    path.touch(mode=0o600, exist_ok=False)
                    path.write_bytes(content.read())
    except (tarfile.TarError, OSError) as error:
        raise ScsError(f"{folder}: {error}") from None
    return folder
