# SPDX-License-Identifier: Apache-2.0
"""Recipes, their order and hashes, apt's output, the lock, the SBOM, and the registry's listeners."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import release_lock
from scs_deploy.images import apt, base, packages, registry, sbom
from scs_deploy.images.builder import Builder
from scs_deploy.images.recipe import Recipe, build_order, inputs_hash, load_recipes, main_root, recipe_key, root_of
from scs_deploy.images.store import Store
from scs_deploy.images.workbench import relevant
from scs_deploy.spec import users
from scs_deploy.spec.release import ImageSpec, Lock, LockedImage, Release, Suite, load_release

RELEASE = Release(
    name="r",
    description="d",
    openstack="2025.1",
    slurp=True,
    distribution="trixie",
    suites=(Suite(suite="trixie"), Suite(suite="trixie-security", uri="http://deb.debian.org/debian-security")),
    images={"base": ImageSpec(), "web": ImageSpec()},
)
PACKAGES = packages.parse(
    "ii \tzlib1g\t1:1.3.dfsg+really1.3.1-1+b1\tamd64\tzlib\t1:1.3.dfsg+really1.3.1-1\n"
    "rc \tgone\t1\tall\tgone\t1\n"
    "ii \tlibstdc++6\t14.2.0-19\tamd64\tgcc-14\t14.2.0-19\n"
)


def recipe(name: str, parent: str | None = None, **more: Any) -> Recipe:
    return Recipe(name=name, description="d", parent=parent, packages=("p",), **more)


def write(folder: Path, name: str, text: str) -> None:
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / f"{name}.yml").write_text(text, encoding="utf-8")


def test_every_image_of_every_release_has_a_recipe_and_a_parent() -> None:
    for path in (Path(__file__).parents[3] / "releases").glob("*.yml"):
        release = load_release(path.stem)
        recipes = load_recipes(release)
        order = build_order(recipes)
        assert sorted(order) == sorted(recipes)
        for name, one in recipes.items():
            assert one.parent is None or order.index(one.parent) < order.index(name)


def test_the_build_order_contains_only_the_named_images_and_their_ancestors() -> None:
    recipes = {n: recipe(n, p) for n, p in {"c": "b", "a": None, "b": "a", "x": "a"}.items()}
    assert build_order(recipes, ("c",)) == ["a", "b", "c"]
    assert build_order(recipes) == ["a", "b", "c", "x"]


def test_the_build_order_refuses_cycles_and_unknown_names() -> None:
    recipes = {"a": recipe("a", "b"), "b": recipe("b", "a")}
    with pytest.raises(RefusedError, match="a -> b -> a"):
        build_order(recipes)
    with pytest.raises(RefusedError, match=r"no image 'nova'.*available: a"):
        build_order({"a": recipe("a")}, ("nova",))


def test_inputs_depend_on_recipe_parent_and_packages_only() -> None:
    same = inputs_hash("key", "parent", {"a": "1", "b": "2"})
    assert inputs_hash("key", "parent", {"b": "2", "a": "1"}) == same
    others = [
        inputs_hash("other", "parent", {"a": "1", "b": "2"}),
        inputs_hash("key", "other", {"a": "1", "b": "2"}),
        inputs_hash("key", "parent", {"a": "1", "b": "3"}),
    ]
    assert same not in others and len(set(others)) == 3


def test_recipe_key_changes_with_the_content_of_a_file() -> None:
    one = recipe("web", "base", files=[{"path": "/a", "content": "1"}])
    other = recipe("web", "base", files=[{"path": "/a", "content": "2"}])
    assert recipe_key(one, RELEASE, {}) == recipe_key(one, RELEASE, {}) != recipe_key(other, RELEASE, {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("description: d\npackages: [a]\npakages: [b]\n", "web.yml:3: pakages: unknown key"),
        ("description: d\nparent: nowhere\npackages: [a]\n", "no image 'nowhere' in release r"),
        ("description: d\nfiles:\n  - {path: etc/x, content: ''}\n", "web.yml:3: files.0.path"),
    ],
)
def test_the_error_for_an_invalid_recipe_names_file_line_and_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    monkeypatch.setenv("SCS_ROOT", str(tmp_path))
    write(tmp_path, "base", "description: d\n")
    write(tmp_path, "web", text)
    with pytest.raises(RefusedError) as caught:
        load_recipes(RELEASE)
    assert says in str(caught.value)


def test_apt_simulation() -> None:
    output = (
        "Reading package lists...\n"
        "Inst libfoo1 (1.2-3 Debian:13/stable [amd64])\n"
        "Inst base-files [13.8] (13.8+deb13u1 Debian:13.1/stable, Debian-Security:13/stable-security [amd64]) []\n"
        "Conf libfoo1 (1.2-3 Debian:13/stable [amd64])\n"
    )
    assert apt.parse_simulation(output) == {"base-files": "13.8+deb13u1", "libfoo1": "1.2-3"}


def test_licenses_of_copyright_files() -> None:
    output = "/usr/share/doc/zlib1g/copyright:License: Zlib\n/usr/share/doc/zlib1g/copyright:License: Zlib\n"
    assert apt.parse_licenses(output) == {"zlib1g": ["Zlib"]}


def test_users_are_created_with_fixed_ids_before_any_package() -> None:
    commands = [c for c in base.user_commands(users.load()) if c]
    assert any(c.startswith("useradd") and "--uid 64062" in c and c.endswith(" glance") for c in commands)
    assert sum(c.startswith("groupadd") and "--gid 64055" in c for c in commands) == 0
    assert max(i for i, c in enumerate(commands) if c.startswith("groupadd")) < min(
        i for i, c in enumerate(commands) if c.startswith("useradd")
    )


def test_the_error_names_ids_that_a_package_changed() -> None:
    passwd = "".join(f"{n}:x:{u.uid}:{u.gid}::/:/\n" for n, u in users.load().items() if u.uid is not None)
    group = "".join(f"{n}:x:{u.gid}:\n" for n, u in users.load().items())
    assert users.differences(passwd, group) == []
    changed = passwd.replace("nova:x:604:", "nova:x:104:")
    assert users.differences(changed, group) == ["user nova is 104:604, not 604:604"]
    assert users.differences(passwd, group.replace("libvirt:x:613", "libvirt:x:103")) == [
        "group libvirt is 103, not 613"
    ]


def test_sources_are_the_releases_suites() -> None:
    assert base.source_lines(RELEASE.suites) == [
        "deb http://deb.debian.org/debian trixie main",
        "deb http://deb.debian.org/debian-security trixie-security main",
    ]
    frozen = Suite(suite="forky", valid_until=False)
    assert base.source_lines([frozen]) == ["deb [check-valid-until=no] http://deb.debian.org/debian forky main"]


def test_a_distribution_of_its_own_is_built_apart_and_changes_no_other_image(tmp_path: Path) -> None:
    release = load_release("2025.1")
    recipes = load_recipes(release)
    assert root_of(recipes, "ceph") == "base-testing"
    assert root_of(recipes, "keystone") == main_root(recipes) == "base"
    builder = Builder(cast(Any, None), release, Store("2025.1", tmp_path))
    assert builder.volume_of("keystone") == builder.volume_of("base") == "scs-images-2025.1"
    assert builder.volume_of("ceph") == builder.volume_of("base-testing") == "scs-images-2025.1-base-testing"
    other = release.model_copy(update={"suites": release.suites[:1]})
    testing = recipes["base-testing"]
    assert recipe_key(testing, release, {}) == recipe_key(testing, other, {})
    assert recipe_key(recipes["base"], release, {}) != recipe_key(recipes["base"], other, {})


def test_only_installed_packages_are_listed_and_survive_a_round_trip() -> None:
    assert [p.name for p in PACKAGES] == ["libstdc++6", "zlib1g"]
    assert packages.parse(packages.write(PACKAGES)) == PACKAGES
    older = (PACKAGES[0], PACKAGES[1]._replace(version="1"))
    assert packages.own(PACKAGES, older) == {"zlib1g": "1:1.3.dfsg+really1.3.1-1+b1"}


def test_a_failed_step_shows_apts_errors_instead_of_its_progress() -> None:
    output = "Setting up a\nE: Unable to locate package nowa\nlast line\n"
    assert relevant(output) == ["E: Unable to locate package nowa"]
    assert relevant("one\n\ntwo\n") == ["one", "two"]


def locked(digit: str) -> LockedImage:
    return LockedImage(reference=f"scs/i{digit}", digest=f"sha256:{digit * 64}", size=1, packages={"b": "1", "a": "2"})


def test_an_unchanged_lock_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "release.lock.yml"
    first = Lock(release="r", images={"web": locked("1"), "base": locked("2")})
    second = release_lock.merge(
        Lock(release="r", images={"base": locked("2"), "old": locked("3")}), {"web": locked("1")}, RELEASE.images
    )
    assert release_lock.text(first) == release_lock.text(second)
    assert release_lock.save(first, path) and not release_lock.save(second, path)
    assert Lock.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))) == first
    assert [p.name for p in tmp_path.iterdir()] == ["release.lock.yml"]


def test_sbom_is_spdx() -> None:
    document = sbom.document("web", "r", "sha256:" + "a" * 64, "2026-01-02T03:04:05Z", PACKAGES, {"zlib1g": ["Zlib"]})
    ids = [p["SPDXID"] for p in document["packages"]]
    assert document["spdxVersion"] == "SPDX-2.3" and len(ids) == len(set(ids)) == 3
    related = {r["relatedSpdxElement"] for r in document["relationships"]}
    assert related == set(ids)
    assert [p.get("licenseComments") for p in document["packages"][1:]] == [None, "debian/copyright names: Zlib"]
    purls = [p["externalRefs"][0]["referenceLocator"] for p in document["packages"][1:]]
    assert purls == [
        "pkg:deb/debian/libstdc%2B%2B6@14.2.0-19?arch=amd64",
        "pkg:deb/debian/zlib1g@1:1.3.dfsg%2Breally1.3.1-1%2Bb1?arch=amd64",
    ]


@pytest.mark.parametrize(
    ("address", "here", "expected"),
    [
        ("172.30.0.1", True, [("127.0.0.1", True), ("172.30.0.1", False)]),
        ("172.30.0.1", False, [("127.0.0.1", True)]),
        ("127.0.0.1", True, [("127.0.0.1", True)]),
    ],
)
def test_nodes_cannot_write_to_the_registry(address: str, here: bool, expected: list[tuple[str, bool]]) -> None:
    settings = SimpleNamespace(registry=SimpleNamespace(address=address, port=5000))
    environment: Any = SimpleNamespace(name="test", settings=settings)
    found = registry.listeners(environment, lambda _: here)
    assert [(one.address, one.writable) for one in found] == expected
    for one in found:
        text = yaml.safe_load(registry.config(one))
        assert text["storage"]["maintenance"]["readonly"]["enabled"] is not one.writable
        assert text["http"]["tls"]["key"]
