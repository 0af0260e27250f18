# SPDX-License-Identifier: Apache-2.0
"""Go programs of images: what a recipe may say, what is compiled, and what the image then consists of."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import load_model
from scs_deploy.images import advisories, go, packages, sbom
from scs_deploy.images.difference import ImageChange, PackageChange
from scs_deploy.images.recipe import GoModule, Recipe, recipe_key
from tests.support.images import needs
from tests.unit.images.test_python_packages import RELEASE

SUM = "h1:" + "A" * 43 + "="
MODULE: dict[str, Any] = {
    "module": "example.org/Team/tool", "version": "v1.2.3", "sum": SUM, "programs": {"tool": "./cmd/tool"},
}  # fmt: skip

PRINTED = """\
/usr/local/bin/tool: go1.27.3
\tpath\texample.org/Team/tool/cmd/tool
\tmod\texample.org/Team/tool\t(devel)\t
\tdep\texample.org/one\tv1.0.0\th1:aaa=
\tdep\texample.org/old\tv0.1.0
\t=>\texample.org/new\tv0.2.0\th1:bbb=
\tdep\tgolang.org/x/sys\tv0.46.0\th1:ccc=
\tbuild\t-trimpath=true
"""
"""By `go version -m`; the second module is replaced by the third."""


def test_a_program_consists_of_modules_and_of_gos_own_library() -> None:
    done = subprocess.run(
        ["awk", "-v", "wanted=v1.2.3", go._MODULES], input=PRINTED, capture_output=True, text=True, check=True
    )
    assert packages.versions(packages.parse(done.stdout)) == {
        "go:stdlib": "v1.27.3", "go:example.org/Team/tool": "v1.2.3", "go:example.org/one": "v1.0.0",
        "go:example.org/new": "v0.2.0", "go:golang.org/x/sys": "v0.46.0",
    }  # fmt: skip
    found = sbom.document("tool", "r", "sha256:1", "2026-12-01T00:00:00Z", packages.parse(done.stdout), {})
    urls = {p["externalRefs"][0]["referenceLocator"] for p in found["packages"] if "externalRefs" in p}
    assert {"pkg:golang/example.org/team/tool@v1.2.3", "pkg:golang/stdlib@v1.27.3"} <= urls


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("module", "example.org/tool; rm -rf /"), ("version", "latest"), ("sum", "sha256:abc"), ("programs", {}),
        ("programs", {"tool": "/etc"}), ("programs", {"../tool": "./cmd"}), ("variables", {"main.version": "a b"}),
    ],
)  # fmt: skip
def test_what_cannot_be_compiled_is_refused_with_file_and_key(tmp_path: Path, key: str, value: Any) -> None:
    file = tmp_path / "tool.yml"
    file.write_text(f"description: d\nparent: base\ngo: [{MODULE | {key: value}}]\n", encoding="utf-8")
    with pytest.raises(RefusedError) as caught:
        load_model(Recipe, file, {"name": "tool"})
    assert f"tool.yml:3: go.0.{key}" in str(caught.value)


def test_an_image_changes_with_its_modules_only() -> None:
    plain = Recipe(name="i", description="d", parent="base", packages=("curl",))

    def key(**changed: Any) -> str:
        return recipe_key(plain.model_copy(update={"go": (GoModule(**MODULE | changed),)}), RELEASE, {})

    assert key() == key()
    assert len({recipe_key(plain, RELEASE, {}), key(), key(version="v1.2.4"), key(sum="h1:" + "B" * 43 + "=")}) == 4


def test_debian_is_not_asked_for_advisories_about_modules() -> None:
    changes = tuple(PackageChange(name=n, old="1", new="2") for n in ("go:stdlib", "curl"))
    assert advisories.updates([ImageChange(image="tool", old="a", new="b", packages=changes)]) == {("curl", "2"): "1"}
    assert packages.debian({"go:stdlib": "v1", "pypi:a": "1", "curl": "2"}) == {"curl": "2"}


@needs("scs/victorialogs:2025.1")
def test_the_image_lists_what_was_compiled_into_its_program() -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", "--entrypoint", "sh", "scs/victorialogs:2025.1", "-c", go.LIST],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found = packages.versions(packages.parse(done.stdout))
    assert found["go:github.com/VictoriaMetrics/VictoriaLogs"].startswith("v1.")
    assert found["go:stdlib"].startswith("v1.")
