# SPDX-License-Identifier: Apache-2.0
"""The state that a region's hosts share: schemas, accounts, Keystone's catalogue, Ceph's pools, Cinder's types.

The manager reads, compares and changes it, with one session per server. The catalog defines the desired state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.plural import counted
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.plan.change import Change
from scs_deploy.region import ceph
from scs_deploy.region.region import Region
from scs_deploy.secrets import clouds, credentials
from scs_deploy.shared import cinder, database, glance, identity, keystone, messaging, volume_types
from scs_deploy.shared.ceph import desired as storage
from scs_deploy.shared.ceph import differences
from scs_deploy.shared.ceph.differences import Refusal
from scs_deploy.shared.ceph.session import Ceph, Run
from scs_deploy.spec.storage import CEPH

PATIENCE = 60
"""Seconds that a change waits for its server to respond."""


@dataclass
class SharedState:
    """The differences of all servers. For a server that did not respond, all of its state counts as different."""

    changes: list[Change] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """service: reason why its server could not be read"""
    refusals: tuple[Refusal, ...] = ()
    """what must not be done without consent, or not at all"""
    evacuated: tuple[str, ...] = ()
    """hosts whose guests were rebuilt elsewhere, and that may not open any disk until they are returned to service"""
    full: str = ""
    """why no client of Ceph can write now; empty: they can, or it is not known"""

    def refuse(self, services: Collection[str]) -> None:
        """:raises RefusedError: changes of these services are refused"""
        found = [r for r in self.refusals if r.service in services]
        if found:
            first, *others = found
            more = f"; and {counted(len(others), 'more refusal')}" if others else ""
            raise RefusedError(first.text, first.hint + more)


@dataclass(frozen=True)
class _Server:
    service: str
    desired: Callable[[Region], Any]
    session: Callable[[Region, Run], Any]
    read: Callable[[Any, Any], Any]
    diff: Callable[[Any, Any], tuple[Change, ...]]
    refuse: Callable[[Any, Any, Collection[str]], tuple[Refusal, ...]] = lambda *_: ()
    there: Callable[[Region], bool] = lambda _: True
    evacuated: Callable[[Any], tuple[str, ...]] = lambda _: ()
    full: Callable[[Any], str] = lambda _: ""

    def compare(self, desired: Any, observed: Any) -> list[Change]:
        """The server's differences. Their subjects include its name."""
        changes = self.diff(desired, observed)
        return [c.model_copy(update={"subject": f"{self.service} {c.subject}"}) for c in changes]


def read(region: Region, run: Run, patience: float = 0, data_loss: Collection[str] = ()) -> SharedState:
    """Read all servers concurrently.

    :param run: runs a command in a container: Ceph is asked in one of a monitor
    :param patience: seconds to wait for a server to respond, because load balancers lag behind changes
    :param data_loss: pools whose data may be lost
    :raises RefusedError: storage.yml names a pool that no service declares, or asks for more than the hosts have
    """
    deadline = time.monotonic() + patience
    state = SharedState()
    servers = [s for s in SERVERS if s.service in region.catalog.services and s.there(region)]
    wanted = {s.service: s.desired(region) for s in servers}

    def ask(server: _Server) -> tuple[Any, str]:
        while True:
            try:
                with server.session(region, run) as session:
                    return server.read(session, wanted[server.service]), ""
            except ScsError as error:
                if time.monotonic() > deadline:
                    return None, str(error)
                time.sleep(0.5)

    with ThreadPoolExecutor(max(len(servers), 1)) as pool:
        for server, (observed, failed) in zip(servers, pool.map(ask, servers), strict=True):
            if failed:
                state.failed[server.service] = failed
            else:
                state.evacuated += server.evacuated(observed)
            state.changes += server.compare(wanted[server.service], observed)
            state.refusals += server.refuse(wanted[server.service], observed, data_loss)
            state.full = state.full or server.full(observed)
    return state


def apply(region: Region, servers: Collection[str], subjects: Collection[str], run: Run) -> list[str]:
    """Apply the changes for the named differences. Returns the subjects of those that still existed.

    :param servers: services whose servers have the differences
    :param subjects: `Change.subject` as returned by `read`
    :raises ScsError: a server does not respond or rejects a change
    """
    done: list[str] = []
    for server in (s for s in SERVERS if s.service in servers):
        desired = server.desired(region)
        with _patiently(server, region, run) as session:
            differences = server.compare(desired, server.read(session, desired))
            changes = [c for c in differences if c.subject in subjects]
            session.apply(desired, changes)
            done += [c.subject for c in changes]
    return done


def _patiently(server: _Server, region: Region, run: Run) -> Any:
    """A session with a server that this run may have started: the load balancer can lag behind by seconds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        session = server.session(region, run)
        try:
            with server.session(region, run) as probe:
                server.read(probe, server.desired(region))
        except ScsError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return session


OWN_DATABASE_ACCOUNTS = {
    "root@%": "mariadb_root_password",
    "root@localhost": "mariadb_root_password",
    "monitor@%": "mariadb_monitor_password",
    "sst@localhost": "mariadb_sst_password",
}
"""Accounts that init.sql creates, and the secrets with their passwords."""
BROKER_ADMINISTRATOR = "scs"


def _databases(region: Region) -> database.Desired:
    services = [s for s in region.catalog.services.values() if s.databases]
    return database.Desired.build(
        {s.name: s.databases for s in services},
        {s.name: credentials.passwords(region.secrets, f"{s.name}_database_password") for s in services},
        {who: credentials.passwords(region.secrets, secret) for who, secret in OWN_DATABASE_ACCOUNTS.items()},
    )


def _accounts(
    region: Region, names: Iterable[str], suffix: str
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """(user: password) and (user: service) of all users in use, and (user: service) of the retired ones."""
    used: dict[str, str] = {}
    owners: dict[str, str] = {}
    retired: dict[str, str] = {}
    for name in names:
        for login in credentials.users(region.secrets, f"{name}_{suffix}_password", name):
            used[login.user], owners[login.user] = login.password, name
        retired |= {u: name for u in (name, name + credentials.SECOND) if u not in used}
    return used, owners, retired


def _brokers(region: Region) -> messaging.Desired:
    services = [s.name for s in region.catalog.services.values() if s.messaging]
    used, owners, retired = _accounts(region, services, "rabbitmq")
    administrators = {a.user: a.password for a in _administrators(region)}
    both = (BROKER_ADMINISTRATOR, BROKER_ADMINISTRATOR + credentials.SECOND)
    retired |= {u: messaging.OWNER for u in both if u not in administrators}
    return messaging.Desired(users=used, services=owners, administrators=administrators, retired=retired)


def _administrators(region: Region) -> tuple[credentials.Login, ...]:
    return credentials.users(region.secrets, "rabbitmq_admin_password", BROKER_ADMINISTRATOR)


def _identity(region: Region) -> identity.Desired:
    settings = region.environment.settings
    urls = []
    for e in endpoints(region):
        for kind in (e.name, *e.aliases) if e.catalogue and e.protocol == "http" else ():
            urls.append((e.service, kind, "internal", f"https://{settings.api.internal.name}:{e.port}{e.path}"))
            if e.public:
                urls.append((e.service, kind, "public", f"https://{settings.api.external.name}:{e.port}{e.path}"))
    accounts = [s.name for s in region.catalog.services.values() if s.account]
    used, owners, retired = _accounts(region, accounts, "keystone")
    roles = {user: region.catalog.services[service].account_roles for user, service in owners.items()}
    return identity.Desired.build(settings.region, used, urls, owners, retired, roles)


def database_session(region: Region) -> database.Database:
    """A session with the database at the internal API address."""
    api = region.environment.settings.api.internal
    passwords = credentials.passwords(region.secrets, "mariadb_root_password")
    return database.Database(str(api.address), passwords, region.environment.ca_file)


def broker_session(region: Region, hosts: Sequence[str], timeout: float = 10) -> messaging.Messaging:
    """A session with the first of these brokers that responds.

    :param hosts: management addresses of the brokers
    :param timeout: seconds for the connection and for each response
    """
    return messaging.Messaging(hosts, _administrators(region), region.environment.ca_file, timeout=timeout)


def _broker_session(region: Region) -> messaging.Messaging:
    return broker_session(region, [h.management for h in region.hosts_of("rabbitmq")])


def _identity_session(region: Region) -> keystone.Keystone:
    api = region.environment.settings.api.internal
    port = region.catalog.services["keystone"].endpoints["identity"].port
    passwords = credentials.passwords(region.secrets, clouds.PASSWORD)
    return keystone.Keystone(f"https://{api.address}:{port}/v3", passwords, region.environment.ca_file)


def _cinder_session(region: Region) -> cinder.Cinder:
    api = region.environment.settings.api.internal
    endpoint = region.catalog.services["cinder"].endpoints["block-storage"]
    return cinder.Cinder(_identity_session(region), f"https://{api.address}:{endpoint.port}{endpoint.path}")


def glance_session(region: Region) -> glance.Glance:
    """A session with Glance at the internal API address."""
    api = region.environment.settings.api.internal
    endpoint = region.catalog.services["glance"].endpoints["image"]
    return glance.Glance(_identity_session(region), f"https://{api.address}:{endpoint.port}")


SERVERS = (
    _Server("mariadb", _databases, lambda r, _: database_session(r), lambda s, d: s.read(d), database.diff),
    _Server("rabbitmq", _brokers, lambda r, _: _broker_session(r), lambda s, _: s.read(), messaging.diff),
    _Server("keystone", _identity, lambda r, _: _identity_session(r), lambda s, d: s.read(d), identity.diff),
    _Server(
        CEPH,
        storage.build,
        Ceph,
        lambda s, d: s.read(d),
        differences.diff,
        differences.refusals,
        ceph.enabled,
        lambda observed: observed.fenced,
        differences.full,
    ),
    _Server(
        volume_types.CINDER,
        lambda r: r.cloud.volume_types,
        lambda r, _: _cinder_session(r),
        lambda s, d: s.read(d),
        volume_types.diff,
        there=lambda r: bool(r.cloud.volume_types),
    ),
)
