# SPDX-License-Identifier: Apache-2.0
"""Options of overrides are compared with those that the services of the images declare."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import option_lists, release_lock
from scs_deploy.environment.option_lists import OptionList
from scs_deploy.operations.upgrade.release import check_overrides
from scs_deploy.region import options
from scs_deploy.region.region import Region
from scs_deploy.spec.release import Lock, LockedImage, load_release

# excerpts of what Keystone 27 and oslo.messaging 16 declare
KEYSTONE = OptionList(
    options={
        "DEFAULT": ("debug", "log_dir", "max_param_size"),
        "auth": ("methods", "password", "token"),
        "oslo_messaging_rabbit": ("heartbeat_in_pthread", "heartbeat_rate"),
        "token": ("allow_expired_window", "caching", "expiration", "provider"),
        "revoke": ("cache_time", "expiration_buffer"),
    },
    renamed={"DEFAULT": {"logdir": "[DEFAULT] log_dir"}, "token": {"revocation_cache_time": "[revoke] cache_time"}},
    removal={"DEFAULT": {"max_param_size": "This option has had no effect."}},
    rules=("admin_required", "identity:list_users", "identity:get_user"),
)
NOVA = OptionList(
    options={"DEFAULT": ("debug", "osapi_compute_workers"), "libvirt": ("virt_type",)}, renamed={}, removal={}
)
NEWER = KEYSTONE.model_copy(
    update={"options": {**KEYSTONE.options, "oslo_messaging_rabbit": ("heartbeat_rate",), "DEFAULT": ("debug",)}}
)
IMAGES = (
    "keystone",
    "nova",
    "nova-compute",
    "glance",
    "placement",
    "neutron",
    "neutron-metadata-agent",
    "cinder",
    "barbican",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a region whose images all have lists."""
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    folder = tmp_path / "berlin"
    folder.mkdir()
    text = (paths.root() / "environments/testbed/environment.yml").read_text(encoding="utf-8")
    write(folder, "../environment.yml", text.replace("../../inventories", str(paths.root() / "inventories")))
    shutil.copy(paths.root() / "environments/testbed/storage.yml", folder)
    lists = {**dict.fromkeys(IMAGES, NOVA), "keystone": KEYSTONE}
    lock(folder, "2025.1", "release.lock.yml", lists)
    return folder


def lock(folder: Path, release: str, file: str, lists: dict[str, OptionList]) -> None:
    images = {
        image: LockedImage(reference=f"scs/{image}", digest=f"sha256:{i:064x}", size=1)
        for i, image in enumerate(sorted(load_release(release).images), 1)
    }
    locked = Lock(release=release, images=images)
    release_lock.save(locked, folder / file)
    option_lists.save(option_lists.file_of(folder, release), lists, locked)


def write(folder: Path, name: str, text: str) -> None:
    file = folder / "config" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def scs(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from scs_deploy.cli.main import main; main()"
    environ = {**os.environ, "SCS_ENVIRONMENTS": str(folder.parent), "SCS_ENVIRONMENT": "berlin"}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environ, capture_output=True, text=True, check=False
    )


def said() -> list[str]:
    config = f"{Region.load('berlin').environment.path}/config/"
    return [str(p).removeprefix(config) for p in options.problems(Region.load("berlin"))]


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("keystone.conf", "[token]\nexpiratoin = 7200\n",
         ":2: [token] expiratoin: keystone has no such option (did you mean expiration?)"),
        ("keystone/keystone.conf", "[token]\nexpiration-buffer = 1\n",
         ":2: [token] expiration-buffer: keystone has no such option (did you mean expiration?)"),
        ("hosts/testbed-1/keystone.conf", "# why\n[DEFAULT]\n\ncaching: true\n",
         ":4: [DEFAULT] caching: keystone has no such option (did you mean [token] caching?)"),
        ("keystone.conf", "[tokn]\nexpiration = 1\n",
         ":1: [tokn]: keystone has no such section (did you mean [token]?)"),
        ("keystone.conf", "[token]\nzzz = 1\n", "`unknown_options: warn`"),
        ("nova_compute/nova.conf", "[libvirt]\nvirt_typ = kvm\n", "did you mean virt_type?"),
        ("global.conf", "[DEFAULT]\ndebugg = true\n", "did you mean debug?"),
        ("keystone.conf", "[DEFAULT]\nlogdir = /x\n",
         ":2: [DEFAULT] logdir: is now [DEFAULT] log_dir (the former name is read for now)"),
        ("keystone.conf", "[token]\nrevocation_cache_time = 1\n", "is now [revoke] cache_time"),
        ("keystone.conf", "[DEFAULT]\nmax_param_size = 1\n",
         "a later release removes it (This option has had no effect.)"),
    ],
)  # fmt: skip
def test_what_no_service_reads_is_named_with_line_and_remedy(folder: Path, file: str, text: str, expected: str) -> None:
    write(folder, file, text)
    (one,) = said()
    assert one.startswith(f"{file}:")
    assert one == f"{file}{expected}" if expected.startswith(":") else expected in one


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("keystone.conf", "[token]\nexpiration = 7200\n"),
        ("keystone.conf", "[Token]\nexpiration = 7200\n"),
        # one service of all reads it
        ("global.conf", "[DEFAULT]\nosapi_compute_workers = 2\n"),
        # a section and an option that others name, as stores of Glance and methods of Keystone
        ("keystone.conf", "[auth]\nmethods = password,kerberos\nkerberos = x\n[tokens]\nx = 1\n[a]\nuse = tokens\n"),
        ("nova/nova.conf", "[DEFAULT]\ndebug = libvirts:rbd\n[libvirts]\nrbd_store_pool = x\n"),
        # of a plugin that declares nothing
        ("neutron/ml2_conf.ini", "[ml2_acme]\nurl = x\n"),
        # read by uWSGI
        ("keystone/uwsgi.ini", "[uwsgi]\nbuffer-sise = 1\n"),
    ],
)
def test_what_may_be_read_is_accepted(folder: Path, file: str, text: str) -> None:
    write(folder, file, text)
    assert said() == []


def test_an_image_without_a_list_or_with_another_digest_is_not_checked(folder: Path) -> None:
    write(folder, "keystone.conf", "[token]\nexpiratoin = 7200\n")
    assert len(said()) == 1
    file = option_lists.file_of(folder, "2025.1")
    text = file.read_text(encoding="utf-8")
    content = json.loads(text)
    content["images"]["keystone"]["digest"] = "sha256:other"
    file.write_text(json.dumps(content), encoding="utf-8")
    assert said() == []
    file.unlink()
    assert said() == []
    file.write_text("{", encoding="utf-8")
    with pytest.raises(RefusedError, match=r"release\.options\.2025\.1\.json: .*scs images build"):
        said()


def test_a_policy_rule_that_no_service_has_is_named(folder: Path) -> None:
    own = '"identity:list_user": "rule:helpers"\n"helpers": "role:helper"\n"identity:get_user:email": "@"\n'
    file = "keystone/policy.yaml"
    write(folder, file, f'"identity:get_user": "rule:helpers"\n{own}"default": "!"\n"helper": "@"\n')
    assert said() == [
        f"{file}:2: 'identity:list_user': keystone has no such rule (did you mean 'identity:list_users'?)",
        f"{file}:6: 'helper': keystone has no such rule (remove it, or use it in another rule as rule:NAME)",
    ]
    # the list of its image has options only, as those of earlier versions
    write(folder, "nova/policy.yaml", '"os_compute_api:server:create": "@"\n')
    assert len(said()) == 2


def test_check_and_plan_refuse_it_and_warn_if_they_shall(folder: Path) -> None:
    write(folder, "keystone.conf", "[token]\nexpiratoin = 7200\n")
    place = f"{folder}/config/keystone.conf:2: [token] expiratoin: keystone has no such option"
    done = scs(folder, "env", "check", "--json")
    assert done.returncode == 2
    # the region has no secrets, which is another error
    (found,) = [p for p in json.loads(done.stdout)["parts"] if p["part"] == "options"]
    assert (found["error"], found["hint"]) == (place, "did you mean expiration?")
    done = scs(folder, "plan")
    assert (done.returncode, done.stderr) == (2, f"error: {place} (did you mean expiration?)\n")
    with (folder / "environment.yml").open("a", encoding="utf-8") as file:
        file.write("unknown_options: warn\n")
    assert f"warning: {place} (did you mean expiration?)\n" in scs(folder, "plan").stderr
    assert f"warning: {place} (did you mean expiration?)\n" in scs(folder, "env", "check").stdout


def test_an_unattended_upgrade_warns_only(folder: Path) -> None:
    write(folder, "keystone.conf", "[token]\nexpiratoin = 7200\n")
    region = Region.load("berlin")
    with pytest.raises(RefusedError, match="expiratoin"):
        options.check(region)
    assert len(options.check(region, strict=False)) == 1


def test_before_a_release_upgrade_all_options_that_it_removes_are_named(folder: Path) -> None:
    write(
        folder, "keystone.conf", "[oslo_messaging_rabbit]\nheartbeat_in_pthread = true\n[DEFAULT]\nmax_param_size = 1\n"
    )
    region = Region.load("berlin")
    lists = {**dict.fromkeys(IMAGES, NOVA), "keystone": NEWER}
    check_overrides(region, "2026.1", lambda _event: None)
    lock(folder, "2026.1", "release.lock.2026.1.yml", lists)
    with pytest.raises(RefusedError) as error:
        check_overrides(region, "2026.1", lambda _event: None)
    file = f"{folder}/config/keystone.conf"
    assert str(error.value) == (
        f"release 2026.1: {file}:2: [oslo_messaging_rabbit] heartbeat_in_pthread: keystone of the new release has no "
        f"such option any more (remove it); {file}:4: [DEFAULT] max_param_size: keystone of the new release has no "
        "such option any more (This option has had no effect.)"
    )
