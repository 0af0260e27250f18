# SPDX-License-Identifier: Apache-2.0
"""Python packages of images: selection from the pins, pins from pip's report, and the installed packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import load_model
from scs_deploy.images import advisories, packages, pinning, pins, python, sbom
from scs_deploy.images.difference import ImageChange, PackageChange
from scs_deploy.images.pins import Pin, Pins
from scs_deploy.images.recipe import Recipe, load_recipes, recipe_key, select_pins
from scs_deploy.spec.release import ImageSpec, PythonPackages, Release, Suite

RELEASE = Release(
    name="r",
    description="d",
    openstack="2026.1",
    slurp=True,
    distribution="trixie",
    suites=(Suite(suite="trixie"),),
    images={"base": ImageSpec(), "web": ImageSpec(recipe="python/web")},
    python=PythonPackages(series={"web": "3"}),
)
PINS = """\
python: "3.13"
packages:
  web: {version: "3.1", sha256: [aa], requires: [frame, loop-a]}
  frame: {version: "2.0", sha256: [bb, cc]}
  loop-a: {version: "1", sha256: [dd], requires: [loop-b], wheel: false}
  loop-b: {version: "1", sha256: [ee], requires: [loop-a]}
  other: {version: "9", sha256: [ff], requires: [gone]}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one release, two recipes and pins."""
    monkeypatch.setenv("SCS_ROOT", str(tmp_path))
    (tmp_path / "images" / "python").mkdir(parents=True)
    (tmp_path / "releases" / "constraints").mkdir(parents=True)
    (tmp_path / "images" / "base.yml").write_text("description: d\n", encoding="utf-8")
    (tmp_path / "releases" / "constraints" / "r.yml").write_text(PINS, encoding="utf-8")
    return tmp_path


def web(root: Path, requirements: str) -> dict[str, dict[str, Pin]]:
    text = f"description: d\nparent: base\npython: {requirements}\n"
    (root / "images" / "python" / "web.yml").write_text(text, encoding="utf-8")
    return select_pins(load_recipes(RELEASE), RELEASE)


def test_an_image_gets_its_requirements_and_their_dependencies_only(root: Path) -> None:
    found = web(root, "[web]")
    assert found["base"] == {}
    assert list(found["web"]) == ["frame", "loop-a", "loop-b", "web"]
    assert pins.lines({n: found["web"][n] for n in ("frame", "web")}) == (
        "frame==2.0 --hash=sha256:bb --hash=sha256:cc\nweb==3.1 --hash=sha256:aa\n"
    )


@pytest.mark.parametrize(
    ("requirements", "says"),
    [
        ("[web, missing]", "no pin for 'missing', which images/python/web.yml: python requires"),
        ("[other]", "no pin for 'gone', which other 9 requires"),
        ("['web==3.1']", "images/python/web.yml:3: python.0"),
        ("[Web_]", "images/python/web.yml:3: python.0"),
    ],
)
def test_a_requirement_that_cannot_be_installed_is_refused_with_file_and_package(
    root: Path, requirements: str, says: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        web(root, requirements)
    assert says in str(caught.value)
    if "no pin" in says:
        assert caught.value.message.startswith(str(root / "releases" / "constraints" / "r.yml"))


def test_a_release_without_pins_refuses_python_packages(root: Path) -> None:
    (root / "releases" / "constraints" / "r.yml").unlink()
    with pytest.raises(RefusedError, match=r"constraints/r\.yml: no such file"):
        web(root, "[web]")
    (root / "images" / "python" / "web.yml").write_text("description: d\npython: [web]\n", encoding="utf-8")
    plain = RELEASE.model_copy(update={"python": None})
    with pytest.raises(RefusedError, match=r"images/python/web\.yml: python: release r has no `python`"):
        select_pins(load_recipes(plain), plain)


def test_an_image_changes_only_with_its_own_packages() -> None:
    all_pins = {"web": Pin(version="3.1", sha256=("aa",)), "other": Pin(version="9", sha256=("ff",))}
    path, recipe = Path("p"), Recipe(name="web", description="d", parent="base", python=("web",))

    def key(**changed: Pin) -> str:
        selection = pins.select(Pins(python="3.13", packages={**all_pins, **changed}), recipe.python, "w", path)
        return recipe_key(recipe, RELEASE, selection)

    assert key() == key(other=Pin(version="10", sha256=("00",)))
    assert key() != key(web=Pin(version="3.2", sha256=("11",)))
    assert key() != key(web=Pin(version="3.1", sha256=("another file of the same version",)))


def test_pins_do_not_change_images_of_debian_packages() -> None:
    recipe = Recipe(name="db", description="d", parent="base", packages=("mariadb-server",))
    older = RELEASE.model_copy(update={"name": "older", "openstack": "2025.1", "python": None})
    assert recipe_key(recipe, RELEASE, {}) == recipe_key(recipe, older, {})


def test_the_series_overrides_upstreams_constraints() -> None:
    upper = "# a comment\nDjango===4.2.28\nbackports.x===1;python_version=='3.10'\nNova===33.0.0\noslo.db===18.1.0\n"
    assert pinning.constraints(upper, {"nova": "33"}).splitlines() == [
        "Django==4.2.28", "backports.x==1;python_version=='3.10'", "oslo.db==18.1.0", "nova==33.*",
    ]  # fmt: skip


@pytest.mark.parametrize("version", ["33.0.0.0rc1", "33.1.0.dev7", "34.0.0", "32.2.1"])
def test_only_final_releases_of_the_series_are_pinned(version: str) -> None:
    series = {"Nova": "33", "glance": "32"}
    found = {"nova": Pin(version="33.0.1", sha256=("a",)), "other": Pin(version="1.0rc1", sha256=("b",))}
    pinning.check_series(Pins(python="3.13", packages=found), series)
    found["nova"] = Pin(version=version, sha256=("a",))
    with pytest.raises(ScsError, match=f"no final release of its series: Nova {version} "):
        pinning.check_series(Pins(python="3.13", packages=found), series)


def row(name: str, version: str, *requires: str, file: str = "", extras: tuple[str, ...] = ()) -> dict[str, Any]:
    hashes = {"sha256": f"{len(name):064x}"}
    return {
        "metadata": {"name": name, "version": version, "requires_dist": list(requires)},
        "download_info": {"url": file or f"https://host/{name}.whl", "archive_info": {"hashes": hashes}},
        "requested_extras": list(extras),
    }


def test_pins_of_pips_report_follow_markers_and_extras_and_survive_writing(tmp_path: Path) -> None:
    report = {
        "environment": {"python_version": "3.13", "sys_platform": "linux", "python_full_version": "3.13.5"},
        "install": [
            row("Web_App", "3.1", "oslo.service[threading]>=4", 'old; python_version < "3"', "ovs"),
            row("oslo.service", "4.5", 'eventlet; extra == "eventlet"', 'cotyledon; extra == "threading"'),
            row("cotyledon", "2.2"),
            row("ovs", "3.7.0", file="https://host/ovs-3.7.0.tar.gz"),
        ],
    }
    found = pinning.parse(report)
    assert found.packages["web-app"].requires == ("oslo-service", "ovs")
    assert found.packages["oslo-service"].requires == ("cotyledon",)
    assert {n: p.wheel for n, p in found.packages.items()} == {
        "cotyledon": True, "oslo-service": True, "ovs": False, "web-app": True,
    }  # fmt: skip
    path = tmp_path / "r.yml"
    path.write_text(pinning.text(found, "r"), encoding="utf-8")
    assert load_model(Pins, path) == found
    assert pinning.text(load_model(Pins, path), "r") == path.read_text(encoding="utf-8")


def test_wheels_and_sources_are_installed_separately() -> None:
    selection = {"ovs": Pin(version="3.7", sha256=("aa",), wheel=False), "web": Pin(version="1", sha256=("bb",))}
    files = {f.path: f.content for f in python.requirements("build-web", selection)}
    assert files == {
        "/mnt/private/build-web.wheels": "web==1 --hash=sha256:bb\n",
        "/mnt/private/build-web.sources": "ovs==3.7 --hash=sha256:aa\n",
    }


def test_packages_in_a_virtualenv_are_listed(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "python3.13" / "site-packages" / "oslo.db-18.1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: oslo.db\nVersion: 18.1.0\n"
        "Classifier: License :: OSI Approved :: Apache Software License\nClassifier: Topic :: Other\n",
        encoding="utf-8",
    )

    def run(script: str, venv: Path) -> str:
        command = script.replace(python.VENV, str(venv)).replace("python3 -IS", f"{sys.executable} -IS")
        return subprocess.run(["sh", "-e", "-c", command], check=True, capture_output=True, text=True).stdout

    found = packages.parse(run(python.QUERY, tmp_path))
    assert [(p.name, p.version, p.source) for p in found] == [("pypi:oslo-db", "18.1.0", "oslo-db")]
    assert python.parse_licenses(run(python.LICENSES, tmp_path)) == {"pypi:oslo-db": ["Apache Software License"]}
    assert run(python.QUERY, tmp_path / "image without one") == ""


def test_the_sbom_distinguishes_python_packages_from_debian_packages() -> None:
    both = packages.parse(
        "ii \tkeystone\t2:27.0.0\tall\tkeystone\t2:27.0.0\nii\tpypi:keystone\t29.1.0\tany\tkeystone\t29.1.0\n"
    )
    licenses = {"pypi:keystone": ["Apache-2.0"]}
    document = sbom.document("web", "r", "sha256:" + "a" * 64, "2026-01-02T03:04:05Z", both, licenses)
    debian, pypi = document["packages"][1:]
    assert debian["SPDXID"] != pypi["SPDXID"] and pypi["name"] == "keystone"
    assert pypi["externalRefs"][0]["referenceLocator"] == "pkg:pypi/keystone@29.1.0"
    assert pypi["licenseComments"] == "package metadata names: Apache-2.0" and "supplier" not in pypi
    assert packages.debian(packages.versions(both)) == {"keystone": "2:27.0.0"}


def test_python_packages_have_no_debian_advisories() -> None:
    changed = [PackageChange(name=name, old="1", new="2") for name in ("openssl", "pypi:django")]
    change = ImageChange(image="horizon", old="a", new="b", packages=tuple(changed))
    assert advisories.updates([change]) == {("openssl", "2"): "1"}


def test_pip_gets_certificates_and_proxies_and_an_invalid_bundle_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in python.INHERITED:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert {"PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"} <= python.environment(trusted=True).keys()
    plain = python.environment(trusted=False)
    assert plain["https_proxy"] == "http://proxy:3128" and "PIP_CERT" not in plain
    (tmp_path / "empty.crt").write_text("nothing\n", encoding="utf-8")
    for path, says in ((tmp_path / "empty.crt", "contains no certificate"), (tmp_path / "none.crt", "cannot be read")):
        with pytest.raises(RefusedError, match=says):
            python.bundle(path)
