# SPDX-License-Identifier: Apache-2.0
"""scs installed by pip: it works on the region from the environment's folder alone, without a checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.e2e.blackbox import RegionUnderTest

pytestmark = pytest.mark.e2e

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `scs` of a virtual environment with a wheel; what the wheel requires comes from this Python's packages."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(CHECKOUT)]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([str(python), *pip[1:], "install", "--no-deps", "--no-index", str(wheel)], check=True)
    own = sysconfig.get_path("purelib", vars={"base": str(folder / "venv")})
    # .pth files are not followed twice, so the editable installation stays out
    Path(own, "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for program in ("ansible-playbook", "ansible"):
        script = (Path(sys.executable).parent / program).read_text().replace(str(Path(sys.executable)), str(python))
        (folder / "venv" / "bin" / program).write_text(script)
        (folder / "venv" / "bin" / program).chmod(0o755)
    return folder / "venv" / "bin" / "scs"


def scs(program: Path, region: RegionUnderTest, *arguments: str) -> str:
    environ = {**region.environ, "SCS_ENVIRONMENTS": str(region.folder.parent)}
    environ.pop("SCS_ROOT", None)
    done = subprocess.run([program, *arguments], cwd="/", env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_whole_without_the_checkout(installed: Path, region: RegionUnderTest) -> None:
    about = json.loads(scs(installed, region, "version", "--json"))
    assert Path(about["root"]).is_relative_to(installed.parents[1])
    assert "2025.1" in about["releases"]


def test_it_sees_the_region_as_the_checkout_does(installed: Path, region: RegionUnderTest) -> None:
    """Same containers, files and digests: nothing differs."""
    assert json.loads(scs(installed, region, "plan", "--json", "--exit-code"))["changes"] == []


def test_it_starts_a_region_in_the_current_folder(installed: Path, tmp_path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("SCS_")}
    command = [str(installed), "env", "init", "berlin"]
    subprocess.run(command, cwd=tmp_path, env=environ, check=True, capture_output=True)
    assert (tmp_path / "environments" / "berlin" / "environment.yml").is_file()
