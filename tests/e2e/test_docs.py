# SPDX-License-Identifier: Apache-2.0
"""The commands of README, tutorial and guides do on a testbed what the pages say.

Comments in the pages say which ones cannot run here (tests/support/handbook.py). This module is the first of the
end-to-end tests: a validation of the tutorial removes what others keep. It leaves the region as it found it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.blackbox import RegionUnderTest
from tests.support import command_lines, handbook
from tests.support.handbook_shell import Shell, follow

pytestmark = pytest.mark.e2e

ROOT = handbook.ROOT
TUTORIAL = ROOT / "docs" / "tutorial" / "first-region.md"
PAGES = [
    ROOT / "README.md",
    TUTORIAL,
    # overrides the same option as the tutorial: nothing restarts a second time
    ROOT / "docs" / "how-to" / "override-config.md",
]
PAGES += [
    page
    for page in sorted((ROOT / "docs" / "how-to").glob("*.md"))
    # tests/unit/cli/test_handbook.py follows the guides that need no region
    if page not in PAGES and page.name not in handbook.NEED_NO_REGION
]
OVERRIDING = PAGES[:3]
"""Pages after which the option may stay as they leave it."""

MADE = (
    ("server", "first"),
    ("floating ip", "$address"),
    ("router", "router"),
    ("network", "private"),
    ("network", "public"),
    ("security group", "web"),
    ("flavor", "small"),
    ("image", "guest"),
)
"""What the tutorial makes and leaves to `scs testbed down`, in an order in which it can be deleted."""

INSTEAD = {
    "scs serve": "it goes on until Ctrl-C; tests/unit/api/test_serve.py runs it",
    "scs logs nova_compute -f": "follows until Ctrl-C",
    "scs images build": "takes minutes; tests/e2e/test_image_updates.py does it",
    "scs node drain control-2": "needs three hosts; tests/fault/test_node_verbs.py does it",
    "scs upgrade run": "the guide to upgrades does it",
    "scs backup create": "the guide to backups does it",
    "scs console testbed-1": "a shell, until it is left",
    "scs testbed down": "removes the region",
    "scs validate": "the tutorial does it",
}
"""Commands of README's table that are not run, and why. Those with an option `--plan` are run with it."""


@pytest.fixture(scope="module")
def testbed(region: RegionUnderTest) -> Iterator[RegionUnderTest]:
    """The region that the pages name; it is as before when the tests are over."""
    if region.name != "testbed":
        pytest.skip("the handbook's commands are for the environment `testbed`")
    assert region.plan() == []
    yield region
    _restore(region)


@pytest.fixture(scope="module")
def restored(testbed: RegionUnderTest) -> RegionUnderTest:
    """The region, once the option is as before."""
    _restore(testbed)
    return testbed


def _restore(region: RegionUnderTest) -> None:
    if region.plan():
        region.apply()
    assert region.plan() == []


@pytest.fixture
def shell(testbed: RegionUnderTest, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shell]:
    """A shell in a folder that looks like the checkout, so that what commands write there does not remain."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for entry in ROOT.iterdir():
        (folder / entry.name).symlink_to(testbed.folder.parent if entry.name == "environments" else entry)
    config = testbed.folder / "config"
    kept = tmp_path / "config"
    if config.is_dir():
        shutil.copytree(config, kept)
    path = f"{Path(sys.executable).parent}{os.pathsep}{testbed.environ['PATH']}"
    made = Shell(folder, {**testbed.environ, "PATH": path}, tmp_path / "state")
    yield made
    for kind, name in MADE if TUTORIAL.name in request.node.name else ():
        if name := made.environ.get("address", "") if name.startswith("$") else name:
            testbed.scs("openstack", *_deletion(testbed, kind, name), expect=None)
    shutil.rmtree(config, ignore_errors=True)
    if kept.is_dir():
        shutil.copytree(kept, config)


def _deletion(region: RegionUnderTest, kind: str, name: str) -> list[str]:
    if kind == "router":
        region.scs("openstack", "router", "remove", "subnet", name, "private", expect=None)
    return [*kind.split(), "delete", *(["--wait"] if kind == "server" else []), name]


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_page(page: Path, shell: Shell, request: pytest.FixtureRequest) -> None:
    commands = handbook.commands(page)
    if all(c.not_run for c in commands):
        pytest.skip("no command of this page can run on a testbed; the page says why")
    if page not in OVERRIDING:
        request.getfixturevalue("restored")
    follow(commands, shell)


def everyday() -> list[str]:
    """The commands of README's table."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    cells = [line.split("|")[1] for line in lines if line.startswith("| `scs ")]
    return [command for cell in cells for command in cell.strip().strip("`").split("`, `")]


@pytest.mark.parametrize("command", everyday())
def test_everyday_command(command: str, shell: Shell, restored: RegionUnderTest) -> None:
    if reason := INSTEAD.get(command):
        pytest.skip(reason)
    code, said = shell.run(f"{command} --plan" if plans(command) else command)
    assert code == 0, said


def plans(command: str) -> bool:
    """Whether a command of scs has the option --plan."""
    (arguments,) = command_lines.of_scs(command)
    return arguments[0] != "openstack" and not command_lines.wrong([*arguments, "--plan"], whole=True)
