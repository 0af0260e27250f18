# SPDX-License-Identifier: Apache-2.0
"""Build a validated region on this machine, and remove it. Every stage skips work that is already done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress

from scs_deploy.base import docker_engine, paths
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment, current, use
from scs_deploy.images import registry
from scs_deploy.images.build import RegionImages
from scs_deploy.images.store import Store
from scs_deploy.inventory import source
from scs_deploy.inventory.model import Inventory
from scs_deploy.inventory.placing import placed
from scs_deploy.operations.bootstrap import Bootstrap
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import clouds, pki, signing, store, vault
from scs_deploy.spec.catalog import load as load_catalog
from scs_deploy.state.lock import RunLock, region_lock
from scs_deploy.testbed.provider import Provider, Report
from scs_deploy.testbed.provider import load as load_provider
from scs_deploy.testbed.stages import Stages

STATE = ("state", "secrets.yml", "certificates.yml", "ca.crt", "vault_password", "release.lock.yml")
"""Files that using an environment adds to its folder. The other files belong to the operator."""


def inventory(environment: Environment) -> Inventory:
    """Load only the inventory, which is sufficient for a provider.

    :raises RefusedError: the inventory is invalid
    """
    return source.load(environment, source.variables(load_catalog()))


def provider(environment: Environment) -> Provider:
    """The environment's provider.

    :raises RefusedError: not a testbed, unknown provider, or invalid inventory
    """
    return load_provider(environment, inventory(environment))


def prepare(environment: Environment, report: Report) -> None:
    """Create missing secrets and certificates, and keep existing ones.

    :raises RefusedError: they exist, but cannot be decrypted with the vault password
    """
    if vault.create_password(environment):
        report(f"created {environment.settings.vault_password_file}")
    hosts = inventory(environment)
    catalog = placed(load_catalog(), hosts)
    if added := store.ensure(environment, [*catalog.secrets(), signing.SECRET], catalog.secret_formats):
        report(f"created {len(added)} secrets")
    if issued := pki.ensure(environment, wanted_leaves(environment, catalog, hosts)):
        report(f"issued {len(issued)} certificates")
    clouds.write(environment)
    try:
        current()
    except RefusedError:
        # then `scs plan` needs no --environment after `scs testbed up`
        use(environment.name)
        report(f"selected environment {environment.name}")


def up(
    environment: Environment,
    stages: Stages,
    report: Report,
    build: Callable[[], None],
    deploy: Callable[[], None] | None,
    validate: Callable[[], None] | None,
    images: tuple[str, ...] = (),
) -> None:
    """Build missing images, create and prepare the hosts, deploy, and validate.

    :param build: builds and pushes images; called if an image is missing or its recipe changed
    :param deploy: applies the region's plan; None skips this stage
    :param validate: validates the region; None skips this stage
    :param images: check only these images; empty: all images of the release
    :raises ScsError: a stage failed; the next `up` continues there
    """
    hosts = provider(environment)
    sharing.make_state(environment)
    with RunLock(environment.state / "testbed.lock"):
        _up(environment, hosts, stages, report, build, deploy, validate, images)


def _up(
    environment: Environment,
    hosts: Provider,
    stages: Stages,
    report: Report,
    build: Callable[[], None],
    deploy: Callable[[], None] | None,
    validate: Callable[[], None] | None,
    images: tuple[str, ...] = (),
) -> None:
    with stages.stage("prepare"):
        hosts.prepare(report)
        prepare(environment, report)
    with stages.stage("images"):
        if RegionImages(environment).complete(images):
            report("all images are built and locked; run `scs images build` for updates")
        else:
            build()
    with stages.stage("hosts"):
        hosts.up(report)
    with stages.stage("bootstrap"):
        summary = Bootstrap(Region.load(environment.name)).run()
        for host, tasks in summary.changed.items():
            report(f"{host}: {len(tasks)} tasks made changes")
    if deploy:
        with stages.stage("deploy"):
            deploy()
    if validate:
        with stages.stage("validate"):
            validate()


def down(environment: Environment, report: Report, keep_images: bool = True) -> None:
    """Remove hosts, networks, volumes, the registry, state and generated secrets.

    :param keep_images: keep the built images, also those in the registry, so that the next `up` needs no build or push
    :raises RefusedError: this is not a testbed, or a run is in progress
    """
    hosts = provider(environment)
    sharing.make_state(environment)
    with RunLock(environment.state / "testbed.lock"), region_lock(environment):
        hosts.down(report)
        if environment.settings.registry.managed:
            registry.remove(environment, report, keep_images)
        if not keep_images:
            remove_images(environment, report)
        for name in STATE:
            path = environment.path / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        marker = paths.environments() / ".current"
        if marker.is_file() and marker.read_text(encoding="utf-8").strip() == environment.name:
            marker.unlink()
    report("removed state and generated secrets")


def remove_images(environment: Environment, report: Report) -> None:
    """Remove the release's images from the local engine, including packages and logs of their builds.

    :raises ScsError: an image is in use
    """
    from docker.errors import APIError, NotFound

    engine = docker_engine.connect()
    release = environment.settings.release
    label = f"scs.release={release}"
    for image in engine.images.list(filters={"label": label}):
        try:
            report(f"removing image {(image.tags or [image.short_id])[0]}")
            engine.images.remove(str(image.id), force=True)
        except APIError as error:
            raise ScsError(f"image {image.short_id}: {error.explanation}") from None
    with suppress(NotFound):
        engine.volumes.get(f"scs-images-{release}").remove(force=True)
    shutil.rmtree(Store(release).folder)


def login_help(environment: Environment) -> list[str]:
    """Lines that explain how to use the region. They show how to get the password, not the password itself."""
    name, external = environment.name, environment.settings.api.external
    state = environment.state
    try:
        folder = state.relative_to(paths.root())
    except ValueError:
        folder = state
    return [
        f"scs openstack -e {name} server list",
        f"export OS_CLIENT_CONFIG_FILE={folder}/clouds.yaml OS_CLIENT_SECURE_FILE={folder}/secure.yaml "
        f"OS_CLOUD={clouds.name(environment)}",
        f"dashboard: https://{external.name}/  (user admin, domain Default; CA: {environment.ca_file.name})",
        f"password:  scs secrets show keystone_admin_password -e {name}",
    ]
