# SPDX-License-Identifier: Apache-2.0
"""A change: one difference between desired and observed, with what it does and what it touches."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.base.words import Words
from scs_deploy.observed.model import BackendServer
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase


class Kind(Words):
    """What is done about a difference."""

    PULL = "pull", "fetch an image by its digest"
    FILE = "file", "write a configuration file, or set its mode and owner"
    DELETE = "delete", "remove a configuration file that no container reads"
    CREATE = "create", "make a container that is missing"
    REPLACE = "replace", "replace a container whose definition differs"
    RESTART = "restart", "restart a container that reads a changed file"
    RELOAD = "reload", "have a process take new configuration without a restart"
    START = "start", "start a container that is stopped"
    STOP = "stop", "stop a container (`scs stop` only)"
    REMOVE = "remove", "remove a container that the catalog no longer has for this host"
    UNDRAIN = "undrain", "have a load balancer use a server again after an interrupted run took it out"
    JOB = "job", "run a one-shot command"
    RECORD = "record", "note that a release's restarts are done, or that there is nothing to restart"
    DATABASE = "database", "make a schema of the database or a vhost of the message broker"
    ACCOUNT = "account", "make an account of database, message broker, Keystone or Ceph, or set its password or rights"
    CATALOGUE = "catalogue", "make or change a region, service or endpoint in Keystone"
    CLOUD = "cloud", "make or change what users find in the cloud: a type of volumes"
    POOL = "pool", "make or change a pool of Ceph, what says where its data goes, or a setting of the cluster"


class Shared(StrEnum):
    """Kinds of objects that hosts share."""

    SCHEMA = "schema"
    USER = "user"
    VHOST = "vhost"
    PERMISSIONS = "permissions"
    PROJECT = "project"
    ROLE = "role"
    REGION = "region"
    SERVICE = "service"
    ENDPOINT = "endpoint"
    VOLUME_TYPE = "volume type"
    POOL = "pool"
    RULE = "rule"
    CLIENT = "client"
    PLACE = "place"
    """of a host in the CRUSH map"""
    OPTION = "option"


class SharedObject(Model):
    """Something that hosts share, in one of the region's servers."""

    server: str = Field(description="service whose server has it, e.g. mariadb")
    kind: Shared
    name: str = Field(description="of an endpoint: the type of its service")
    interface: str = Field(default="", description="of an endpoint")

    def __str__(self) -> str:
        return " ".join(filter(None, (self.kind.value, self.name, self.interface)))


class Change(Model):
    """One difference. Its text never holds a secret.

    `reason` is for people: whatever a decision needs is a field of its own.
    """

    kind: Kind
    service: str
    host: str = Field(description="where it happens; the controller's changes name 'region'")
    subject: str = Field(description="name of the container, file, job, schema, user or endpoint")
    reason: str = Field(description="why, e.g. `keystone.conf: [token] expiration 3600 -> 7200`")
    phase: Phase
    impact: Impact
    creates: bool = Field(default=False, description="the subject is not there yet")
    shared: SharedObject | None = Field(default=None, description="what hosts share and this is about")
    balanced: BackendServer | None = Field(default=None, description="the server that load balancers use again")
    witnesses: tuple[str, ...] = Field(default=(), description="other hosts of the cluster: record a job's success")


REGION = "region"
"""`Change.host` of what is changed once per region, from the controller."""


def shared_objects(changes: Iterable[Change]) -> list[SharedObject]:
    """What changes of shared state are about."""
    return [c.shared for c in changes if c.shared]
