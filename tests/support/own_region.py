# SPDX-License-Identifier: Apache-2.0
"""A region in a temporary folder with a service, an image and a user of its own, and the commands of `scs` for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from scs_deploy.cli import config, console, env, images, inventory, logs, plan, secrets
from scs_deploy.environment import release_lock
from scs_deploy.region.region import Region
from tests.conftest import with_dummies

SERVICE = """\
description: Reservations
hosts: control
requires: [keystone]
databases: [sample]
account: true
settings: {sample_colour: red}
endpoints:
  reservation: {port: 1234, path: /v1, public: true, health_path: /healthcheck}
containers:
  sample:
    wsgi: sample-api
    user: sample
    config: [sample.conf]
    policy: true
    volumes: ["sample_data:/var/lib/sample"]
"""
TEMPLATE = "{% import 'oslo.j2' as oslo with context %}\n[DEFAULT]\ncolour = {{ settings.sample_colour }}\n"
TEMPLATE += "{{ oslo.api('sample') }}"
IMAGE = "description: Reservations\nparent: openstack-base\npackages: [python3-blazar]\n"
USERS = "sample: {uid: 700, gid: 700}\n"
SSH = """\
#!/bin/sh
for word; do command=$word; done
case $command in
*"docker logs"*) echo "2026-01-01T00:00:00.000000000Z a line" ;;
*) echo "shell" ;;
esac
"""

app = typer.Typer()
for module in (config, console, env, images, inventory, logs, plan, secrets):
    module.register(app)


class OwnRegion:
    """The environment `berlin`, whose files a test changes.

    :param template: a prepared environment
    """

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder = folder / "berlin"
        shutil.copytree(template, self.folder)

    def write(self, path: str, text: str) -> Path:
        """Write a file of the environment."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def write_own(self, service: str = SERVICE) -> None:
        """The service with all that belongs to it."""
        write_own(self.folder, service)

    def lock(self, reading: bool = False) -> None:
        """Lock an image for each of the release, as a build does."""
        region = Region.load("berlin", reading=reading)
        release_lock.save(with_dummies(region).lock, region.environment.lock_file)


def write_own(folder: Path, service: str = SERVICE) -> None:
    """The service with all that belongs to it."""
    (folder / "services" / "sample").mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    (folder / "services" / "sample" / "service.yml").write_text(service, encoding="utf-8")
    (folder / "services" / "sample" / "sample.conf.j2").write_text(TEMPLATE, encoding="utf-8")
    (folder / "images" / "sample.yml").write_text(IMAGE, encoding="utf-8")
    (folder / "images" / "users.yml").write_text(USERS, encoding="utf-8")


def scs(*arguments: str, code: int = 0) -> tuple[str, str]:
    """(stdout, stderr) of a command; an error that ends it comes after its stderr.

    :param code: the exit code that it must have
    """
    result = CliRunner().invoke(app, arguments)
    error = result.exception
    said = getattr(error, "exit_code", result.exit_code)
    assert said == code, (result.output, error)
    return result.stdout, result.stderr + (str(error) if error and not isinstance(error, SystemExit) else "")


def prepared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new environment with certificates and secrets, those of the own service, too, which it does not have yet."""
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(folder))
    monkeypatch.setenv("SCS_ENVIRONMENT", "berlin")
    scs("env", "init", "berlin", "--from", "testbed")
    write_own(folder / "berlin")
    scs("secrets", "init", "--create-vault-password")
    shutil.rmtree(folder / "berlin" / "services")
    shutil.rmtree(folder / "berlin" / "images")
    return folder / "berlin"
