# SPDX-License-Identifier: Apache-2.0
"""A complete region in a folder of its own: the shipped three-node environment, with secrets, a lock and overrides."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from scs_deploy.base import paths
from scs_deploy.environment import environment as environments
from scs_deploy.environment import option_lists, release_lock
from scs_deploy.environment.option_lists import OptionList
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import clouds, pki, store, vault
from scs_deploy.spec.release import Lock, LockedImage, load_release

NAME = "fuzz"

OVERRIDES = {
    "global.conf": "[DEFAULT]\ndebug = true\n",
    "keystone.conf": "[token]\nexpiration = 7200\n\n[security_compliance]\nlockout_failure_attempts = 5\n",
    "nova_compute/nova.conf": "# faster\n[libvirt]\ncpu_mode = custom\ncpu_models = Nehalem,\n  Westmere\n",
    "hosts/ha-1/neutron.conf": "[DEFAULT]\ndhcp_agents_per_network = 2\n",
    "neutron/ml2_conf.ini": "[ml2]\npath_mtu: 1400\n",
    "mariadb/server.cnf": '[mariadbd]\nmax-connections = 2000 # many\ninit_connect = "SET NAMES utf8mb4"\n',
    "rabbitmq/rabbitmq.conf": "heartbeat = 30\n",
}


@dataclass(frozen=True)
class Tree:
    """Where the region's parts are."""

    root: Path
    """SCS_ROOT: collections, which may be changed, and links to the rest"""
    environment: Path

    @property
    def top(self) -> Path:
        """The folder of both."""
        return self.root.parent

    def variables(self) -> dict[str, str]:
        """What selects this region in a process."""
        return {
            "SCS_ROOT": str(self.root),
            "SCS_ENVIRONMENTS": str(self.environment.parent),
            "SCS_ENVIRONMENT": NAME,
        }

    def targets(self) -> dict[str, list[Path]]:
        """Kind of input: its files."""
        found = {
            "environment": [self.environment / "environment.yml"],
            "inventory": _files(self.environment / "inventory"),
            "overrides": _files(self.environment / "config"),
            "secrets": [
                self.environment / name for name in ("secrets.yml", "certificates.yml", "ca.crt", "vault_password")
            ],
            "generated": sorted(self.environment.glob("release.*")),
            "specs": sorted(self.root.glob("collections/ansible_collections/scs/*/services/*/service.yml")),
        }
        assert all(found.values()), found
        return found

    def listing(self) -> dict[str, tuple[int, ...]]:
        """Every path with what a write would change. Python's own cache of plugins is none of the region's."""
        found = {}
        for folder, folders, names in os.walk(self.top):
            folders[:] = [n for n in folders if n != "__pycache__"]
            for name in (*folders, *names):
                path = f"{folder}/{name}"
                status = os.lstat(path)
                content = () if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
                found[path] = (status.st_ino, status.st_mode, *content)
        return found


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def build(top: Path) -> Tree:
    """Write the region below `top`, which is empty. Sets the variables that select it in this process."""
    source = paths.root()
    tree = Tree(top / "root", top / "environments" / NAME)
    tree.root.mkdir(parents=True)
    shutil.copytree(source / "collections", tree.root / "collections", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("releases", "images", "playbooks"):
        (tree.root / name).symlink_to(source / name)
    tree.environment.mkdir(parents=True)
    text = (source / "environments/testbed-ha/environment.yml").read_text(encoding="utf-8")
    text = text.replace("../../inventories/testbed-ha", "inventory")
    (tree.environment / "environment.yml").write_text(text, encoding="utf-8")
    shutil.copytree(source / "inventories/testbed-ha", tree.environment / "inventory")
    os.environ.update(tree.variables())
    _generate(tree)
    for name, override in OVERRIDES.items():
        file = tree.environment / "config" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(override, encoding="utf-8")
    return tree


def _generate(tree: Tree) -> None:
    """What `scs secrets init` and `scs images build` write."""
    environment = environments.load(NAME)
    lock = Lock(
        release=environment.settings.release,
        images={
            image: LockedImage(reference=f"scs/{image}", digest=f"sha256:{i:064x}", size=1, packages={image: "1"})
            for i, image in enumerate(load_release(environment.settings.release).images, 1)
        },
    )
    release_lock.save(lock, environment.lock_file)
    options = OptionList(
        options={
            "token": ("expiration", "provider"),
            "security_compliance": ("lockout_failure_attempts", "lockout_duration"),
            "DEFAULT": ("debug",),
        },
        renamed={"DEFAULT": {"verbose": "[DEFAULT] debug"}},
        removal={"token": {"provider": "there is one"}},
    )
    option_lists.save(environment.options_file, {"keystone": options}, lock)
    vault.create_password(environment)
    region = Region.load(NAME)
    store.ensure(environment, [*region.catalog.secrets(), clouds.PASSWORD], region.catalog.secret_formats)
    pki.ensure(environment, wanted_leaves(environment, region.catalog, region.inventory))
    clouds.write(environment)
