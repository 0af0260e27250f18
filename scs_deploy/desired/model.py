# SPDX-License-Identifier: Apache-2.0
"""The desired state of a host, with all defaults explicit."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.spec.container import Health, Impact, Reload, Roll
from scs_deploy.spec.job import Phase

NODE_CONFIG = "/etc/scs"
"""Folder of all rendered files on a node, with one subfolder per container."""


class File(Model):
    """A rendered file on a node."""

    path: str
    content: str = Field(repr=False)
    sha256: str
    mode: str
    uid: int
    gid: int
    service: str
    container: str
    name: str
    format: str
    sources: tuple[str, ...] = Field(
        default=(), description="override files merged into the template, lowest precedence first"
    )


class RunContainer(Model):
    """A desired container in Docker, and how to check, reload and replace it. All Jinja is rendered."""

    name: str
    service: str
    image: str = Field(description="registry/repository@digest")
    body: dict[str, Any] = Field(description="request of Docker's POST /containers/create")
    files: tuple[str, ...] = Field(description="paths of its files")
    health: Health | None = Field(description="always a command, inside the container; None: running is enough")
    reload: Reload | None
    roll: Roll = Field(default=Roll())
    live: tuple[str, ...] = Field(default=(), description="names of files that are read again at each use")
    volumes: dict[str, tuple[int, int]] = Field(description="named volume: uid, gid of a new one")
    directories: dict[str, tuple[int, int]] = Field(description="host directory: uid, gid of a new one")
    disks: dict[str, str] = Field(default={}, description="path of a disk that it takes as a whole: the disk's name")
    address: str = Field(description="where it listens on its ports: its host's management address, or loopback")
    ports: tuple[int, ...] = Field(description="of its endpoints' processes")
    impact: Impact


class RunJob(Model):
    """A one-shot container."""

    name: str = Field(description="<service>.<job>")
    service: str
    phase: Phase
    each: str
    once: bool
    container: str
    image: str
    body: dict[str, Any]
    volumes: dict[str, tuple[int, int]]
    directories: dict[str, tuple[int, int]]
    schema_change: bool = Field(default=False, description="whether it changes a database's schema")
    hash: str = Field(description="of image and command, or of the release; the job is due if it changed")
    timeout: int


class DesiredHost(Model):
    """The desired state of one host."""

    host: str
    containers: dict[str, RunContainer]
    files: dict[str, File]
    jobs: dict[str, RunJob]
    lets_in: tuple[str, ...] = Field(default=(), description="lines of its packet filter; empty: they are not compared")
