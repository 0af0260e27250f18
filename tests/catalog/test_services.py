# SPDX-License-Identifier: Apache-2.0
"""Every service of the collections, found by itself: a new one is tested by existing."""

from __future__ import annotations

import re

import jinja2
import pytest
from jinja2 import meta

from scs_deploy.base import ini, paths
from scs_deploy.desired import render, resolve
from scs_deploy.environment import overrides as config
from scs_deploy.region.region import Region
from scs_deploy.spec import catalog
from scs_deploy.spec.service import LAYERS, Service
from scs_deploy.spec.sources import source

CATALOG = catalog.load()
SERVICES = [pytest.param(s, id=n) for n, s in CATALOG.services.items()]


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_has_a_health_check_and_drops_capabilities(service: Service) -> None:
    for name, container in service.containers.items():
        assert container.health is not None, f"{name}: no health check"
        assert container.cap_drop == ("ALL",), f"{name}: cap_drop: [ALL], then name what it needs"
        assert "SYS_RESOURCE" not in container.cap_add, name


@pytest.mark.parametrize("service", SERVICES)
def test_every_template_and_program_beside_a_spec_is_used(service: Service) -> None:
    used = {source(service, n, f.name) for n, c in service.containers.items() for f in c.sourced}
    templates = set(service.directory.glob("*.j2"))
    env = render.environment_for(service)
    for template in templates:
        tree = env.parse(template.read_text(encoding="utf-8"))
        used |= {service.directory / t for t in meta.find_referenced_templates(tree) if t}
    beside = templates | set((service.directory / "files").glob("*"))
    assert beside <= used, f"unused: {sorted(beside - used)}"


def test_every_shared_program_is_used() -> None:
    used = {source(s, n, f.name) for s in CATALOG.services.values() for n, c in s.containers.items() for f in c.sourced}
    # those of core are the manager's, which sends them to hosts
    manager = "".join(f.read_text(encoding="utf-8") for f in (paths.root() / "scs_deploy").rglob("*.py"))
    used |= {p for p in (paths.layer("core") / "files").glob("*.py") if f'"{p.name}"' in manager}
    shared = {p for layer in LAYERS for p in (paths.layer(layer) / "files").glob("*")}
    assert shared <= used, f"unused: {sorted(shared - used)}"


@pytest.mark.parametrize("service", SERVICES)
def test_it_renders_on_every_host_that_runs_it(service: Service, testbed: Region) -> None:
    containers = set()
    for host in testbed.inventory.hosts:
        desired = resolve.resolve(testbed, host)
        for file in desired.files.values():
            if file.service == service.name and file.format in (ini.INI, ini.CNF):
                ini.parse(file.content, file.format)
            assert "StrictUndefined" not in file.content
        containers |= {c.name for c in desired.containers.values() if c.service == service.name}
    assert containers == set(service.containers)


def test_secrets_are_declared_exactly_as_used(testbed: Region) -> None:
    for host in testbed.inventory.hosts:
        resolve.resolve(testbed, host)
    # the shared modules use these on the controller, not in a file
    outside = {n for n in testbed.secrets if n.endswith("_keystone_password")} | {"keystone_admin_password"}
    assert set(testbed.secrets) - testbed.secrets.used - outside == set()  # type: ignore[attr-defined]


def test_no_secret_stands_in_a_container_definition(testbed: Region) -> None:
    for host in testbed.inventory.hosts:
        desired = resolve.resolve(testbed, host)
        bodies = {n: r.body for n, r in desired.containers.items()} | {n: j.body for n, j in desired.jobs.items()}
        for name, body in bodies.items():
            assert "dummy-" not in str(body), f"{name}: a secret in its command, environment or mounts"


def test_no_container_is_privileged_and_ports_are_one_each(testbed: Region) -> None:
    for host in testbed.inventory.hosts:
        taken: dict[int, str] = {}
        for run in resolve.resolve(testbed, host).containers.values():
            assert run.body["HostConfig"]["Privileged"] is False
            for port in run.ports:
                assert taken.setdefault(port, run.name) == run.name
        assert taken


def test_every_setting_is_used() -> None:
    for service in CATALOG.services.values():
        texts = [p.read_text(encoding="utf-8") for p in service.directory.rglob("*") if p.is_file()]
        for layer in (service.layer, "core"):
            texts += [p.read_text(encoding="utf-8") for p in (paths.layer(layer) / "templates").glob("*.j2")]
        everywhere = "\n".join(t for t in texts)
        for key in service.settings:
            short = key.removeprefix(f"{service.name}_")
            used = re.search(rf"settings\.{key}\b|settings\[['\"]{key}|['\"]_{short}['\"]", everywhere)
            assert used, f"{service.name}: setting {key} is never used"


def test_templates_refuse_undefined_variables() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render._jinja(()).from_string("{{ nothing }}").render({})


def test_override_formats_are_known(testbed: Region) -> None:
    for host in testbed.inventory.hosts:
        for file in resolve.resolve(testbed, host).files.values():
            assert config.file_format(file.name, file.format) in ("ini", "cnf", "yaml", "json", "policy", "text")


def test_a_service_with_rules_takes_the_operators(testbed: Region) -> None:
    """Where a configuration has [oslo_policy], one container enforces its rules."""
    host = resolve.resolve(testbed, "testbed-1")
    with_rules = {f.service for f in host.files.values() if "\n[oslo_policy]\n" in f.content}
    assert with_rules == {s.name for s in CATALOG.services.values() if any(c.policy for c in s.containers.values())}
    assert with_rules
