# SPDX-License-Identifier: Apache-2.0
"""The operator's own services, images and users live in the environment; a wrong one takes nothing else away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.desired import resolve
from scs_deploy.engine.observe import pinned
from scs_deploy.environment import environment as environments
from scs_deploy.environment import own, release_lock
from scs_deploy.images.recipe import load_recipes, recipe_key
from scs_deploy.operations import rollback, saved_plan
from scs_deploy.plan.region import Plan
from scs_deploy.region import region as regions
from scs_deploy.region.inputs import inputs, specs
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.spec.release import Lock
from scs_deploy.state import snapshot
from tests.support.own_region import SERVICE, SSH, OwnRegion, prepared, scs


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return prepared(tmp_path_factory.mktemp("template"), patch)


@pytest.fixture
def berlin(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> OwnRegion:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    monkeypatch.setenv("SCS_ENVIRONMENT", "berlin")
    # a stand-in for SSH, which `scs logs` starts
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(SSH)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return OwnRegion(tmp_path, template)


def test_an_own_service_is_like_a_shipped_one(berlin: OwnRegion) -> None:
    berlin.write_own()
    berlin.lock()
    assert json.loads(scs("env", "check", "--json")[0])["ok"]
    shown, _ = scs("config", "show", "sample", "sample.conf")
    assert "colour = red" in shown
    assert "auth_url" in shown, "a macro of its layer's templates"
    assert str(scs("config", "explain", "sample", "sample.conf", "--json")[0]).count("services/sample/sample.conf.j2")
    region = Region.load("berlin")
    container = resolve.resolve(region, "testbed-1").containers["sample"]
    assert "/scs/sample@sha256:" in container.image
    assert container.volumes == {"sample_data": (700, 700)}


def test_wrong_promql_of_its_alerts_is_refused(berlin: OwnRegion) -> None:
    """Also in a region without monitoring, before anything changes."""
    berlin.write_own()
    berlin.lock()
    file = berlin.folder / "services" / "sample" / "alerts.yml"
    alert = "{alert: SampleDown, expr: rate(up) > 0, severity: warning, summary: a, impact: b}"
    file.write_text(f"alerts:\n  - {alert}\n")
    said = f"{file}:2: alerts.0.expr: SampleDown: wrong PromQL: expected type matrix"
    assert said in scs("plan", code=2)[1]
    # as every command that changes a region does first
    with pytest.raises(RefusedError, match=said):
        Region.load("berlin")
    file.write_text(f"alerts:\n  - {alert.replace('rate(up)', 'up')}\n")
    assert json.loads(scs("env", "check", "--json")[0])["ok"]


def test_its_image_is_one_of_every_release(berlin: OwnRegion) -> None:
    berlin.write_own()
    environment = environments.load("berlin")
    for name in ("2025.1", "2026.1"):
        release = own.load_release(environment, name)
        recipes = load_recipes(release)
        assert recipes["sample"].packages == ("python3-blazar",)
        assert "sample" not in (paths.root() / "releases" / f"{name}.yml").read_text()
        users = own.load_users(environment)
        keys = {recipe_key(recipes["sample"], release, {}, own=u) for u in (users, {})}
        assert len(keys) == 2, "another user is another image"


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("services/nova/service.yml", SERVICE, "services/nova/service.yml:1: scs has a service 'nova' itself (choose"),
        ("services/sample/service.yml", SERVICE + "colour: red\n", "service.yml:16: colour: unknown key"),
        (
            "services/sample/service.yml", SERVICE.replace("1234", "5000"),
            "service.yml:8: endpoints.reservation: port 5000 belongs to keystone (choose another port)",
        ),
        (
            "services/sample/service.yml", SERVICE.replace("user: sample", "user: sampel"),
            "service.yml:12: containers.sample.user: images have no user 'sampel' (there are: root, ",
        ),
        (
            "services/sample/service.yml", SERVICE.replace("hosts: control", "hosts: [control, gateway]"),
            "service.yml:2: hosts: no host is in group 'gateway' (there are: all, chassis,",
        ),
        (
            "services/sample/service.yml", SERVICE.replace("    policy", "    image: smaple\n    policy"),
            "containers.sample.image: release 2025.1 has no image 'smaple' (write ",
        ),
        (
            "services/sample/service.yml", SERVICE.replace("[keystone]", "[other]"),
            "service.yml:3: requires.0: no service 'other'",
        ),
        ("services/sample/service.yml", "a: [\n", "services/sample/service.yml:"),
        ("services/sample/service.yml", SERVICE + "layer: sky\n", "layer: no layer 'sky'; there are: core, "),
        ("services/hosts/service.yml", SERVICE, "services/hosts: 'hosts' cannot be the name of a service"),
        ("services/other/service.yaml", SERVICE, "services/other: no service (a service is a folder with"),
        ("images/keystone.yml", "description: x\n", "images/keystone.yml:1: release 2025.1 has an image 'keystone'"),
        ("images/other.yaml", "description: x\n", "images/other.yaml: no image (an image is one file: "),
        ("images/users.yml", "sample: {uid: 604, gid: 604}\n", "users.yml:1: sample.uid: uid 604 belongs to nova"),
        ("images/users.yml", "nova: {uid: 700, gid: 700}\n", "users.yml:1: nova: scs has a user 'nova' itself"),
        ("images/users.yml", "sample: {uid: 1000, gid: 700}\n", "the ids of system users are below 1000"),
    ],
)  # fmt: skip
def test_a_wrong_one_stops_changes_and_nothing_else(berlin: OwnRegion, path: str, text: str, message: str) -> None:
    berlin.write_own()
    berlin.write(path, text)
    # its settings are known to nobody while it has an error
    if path.startswith("services/sample"):
        berlin.write("inventory/group_vars/control.yml", "sample_colour: blue\n")
    _, error = scs("plan", code=2)
    assert message in error
    assert "\n" not in error
    checked = json.loads(scs("env", "check", "--json", code=2)[0])["parts"]
    assert any(message.partition(" (")[0] in p["error"] for p in checked)
    for command in (("logs", "keystone"), ("inventory", "show"), ("config", "list", "keystone")):
        berlin.lock(reading=True)
        out, said = scs(*command)
        assert out
        assert said.count("warning: without what has an error: ") == said.count("\n") == 1
        assert message.partition(" (")[0] in said


def test_what_requires_a_wrong_one_is_left_out_too(berlin: OwnRegion) -> None:
    berlin.write_own(SERVICE.replace("[keystone]", "[nothing]"))
    text = "description: x\nhosts: all\nrequires: [sample]\ncontainers:\n  other: {command: x, image: base}\n"
    berlin.write("services/other/service.yml", text)
    _, said = scs("inventory", "show")
    assert "service 'sample' has an error" in said
    assert "no service 'nothing'" in said
    assert "1 more error: scs env check" in scs("plan", code=2)[1]
    assert "service.yml:3: requires.0: no service 'nothing'" in scs("logs", "sample", code=2)[1]


def test_a_circle_of_own_services_is_named(berlin: OwnRegion) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        text = f"description: x\nhosts: all\nrequires: [{other}]\ncontainers:\n  {name}: {{command: x, image: base}}\n"
        berlin.write(f"services/{name}/service.yml", text)
    assert "service.yml:3: requires: cycle: one -> two -> one" in scs("plan", code=2)[1]


def test_a_run_that_reads_leaves_out_what_its_command_left_out(
    berlin: OwnRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ansible's processes load the region again: a service that breaks during an apply must not look removed."""
    monkeypatch.setattr(regions, "_shared", {})
    berlin.write_own(SERVICE + "colour: red\n")
    with pytest.raises(RefusedError, match="colour: unknown key"):
        regions.shared_region("berlin")
    for name, value in pinned(Region.load("berlin", reading=True)).items():
        monkeypatch.setenv(name, value)
    assert "keystone" in regions.shared_region("berlin").catalog.services


def test_own_files_are_inputs(berlin: OwnRegion) -> None:
    berlin.write_own()
    berlin.lock()
    region = Region.load("berlin")
    before, shipped = inputs(region), specs(region)
    plan = berlin.folder / "monday.plan"
    saved_plan.save(plan, region, Selection(), Plan(changes=()))
    for path in ("services/sample/sample.conf.j2", "images/sample.yml", "images/users.yml"):
        text = (berlin.folder / path).read_text()
        berlin.write(path, text + "# changed\n")
        assert inputs(region) != before
        assert specs(region) == shipped, "an update of scs changes these"
        with pytest.raises(RefusedError, match=f"{path} was changed"):
            saved_plan.check_inputs(saved_plan.load(plan), Region.load("berlin"), plan)
        berlin.write(path, text)
    assert inputs(region) == before


def test_a_rollback_restores_and_removes_them(berlin: OwnRegion) -> None:
    berlin.lock()
    region = Region.load("berlin")
    without = snapshot.keep(region.environment, "without", specs(region))
    berlin.write_own()
    berlin.lock()
    region = Region.load("berlin")
    there = snapshot.written(berlin.folder)
    with_it = snapshot.keep(region.environment, "with", specs(region))
    assert without.about.own != with_it.about.own
    assert without.about.specs == with_it.about.specs

    def back(to: snapshot.Snapshot) -> None:
        lock = release_lock.written(region.environment)
        about = snapshot.about(region.environment, specs(region))
        found = rollback.plan_rollback("r", to, lock, snapshot.written(berlin.folder), about)
        rollback.write(region.environment, found)

    back(without)
    assert "sample" not in Region.load("berlin").catalog.services
    assert not (berlin.folder / "services").exists()
    back(with_it)
    assert snapshot.written(berlin.folder) == there
    assert "sample" in Region.load("berlin").catalog.services


def test_what_a_removed_service_leaves_behind(berlin: OwnRegion) -> None:
    berlin.write_own()
    berlin.lock()
    region = Region.load("berlin")
    assert scs("env", "leftovers")[0] == "no own service was removed\n"
    snapshot.keep(region.environment, "then", specs(region))
    for file in sorted((berlin.folder / "services" / "sample").iterdir()):
        file.unlink()
    (found,) = json.loads(scs("env", "leftovers", "--json")[0])
    assert found == {
        "service": "sample", "databases": ["sample"], "broker": False, "account": True, "endpoints": ["reservation"],
        "secrets": ["sample_database_password", "sample_keystone_password"], "images": ["sample"],
        "volumes": ["sample_data"],
    }  # fmt: skip
    assert (
        "schemas sample; database user sample; Keystone user sample; endpoints reservation"
        in scs("env", "leftovers")[0]
    )
    assert isinstance(release_lock.written(region.environment), Lock)


def test_a_service_on_all_hosts_and_on_several_groups(berlin: OwnRegion, testbed: Region) -> None:
    berlin.write_own(SERVICE.replace("hosts: control", "hosts: all"))
    berlin.lock()
    region = Region.load("berlin")
    assert [h.name for h in region.hosts_of("sample")] == list(region.inventory.hosts)
    assert "sample" in resolve.resolve(region, "testbed-1").containers
    berlin.write_own(SERVICE.replace("hosts: control", "hosts: [network, compute]"))
    assert [h.name for h in Region.load("berlin").hosts_of("sample")] == ["testbed-1"]


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ("[]", "hosts: name at least one inventory group, or `all` for every host"),
        ("[control, control]", "hosts: names a group twice"),
        ("[all, control]", "hosts: `all` already stands for every host"),
        ("3", "hosts: "),
    ],
)
def test_wrong_groups_are_refused(berlin: OwnRegion, hosts: str, message: str) -> None:
    berlin.write_own(SERVICE.replace("hosts: control", f"hosts: {hosts}"))
    assert f"service.yml:2: {message}" in scs("plan", code=2)[1]
