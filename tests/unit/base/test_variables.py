# SPDX-License-Identifier: Apache-2.0
"""What of the operator's shell reaches scs and the programs it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scs_deploy.base import paths, variables

SHELL = {"HOME": "/root", "PATH": "/opt/bin:/usr/bin", "TERM": "xterm"}

FOREIGN = [
    "ANSIBLE_TRANSPORT", "ANSIBLE_ASK_PASS", "ANSIBLE_HASH_BEHAVIOUR", "ANSIBLE_VAULT_PASSWORD_FILE", "PYTHONPATH",
    "PYTHONWARNINGS", "PYTHONIOENCODING", "GIT_DIR", "OS_CLOUD", "OS_AUTH_URL", "LC_MESSAGES", "LANGUAGE",
    "LD_PRELOAD", "BASH_ENV", "SSH_ASKPASS",
]  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_other_variables_are_dropped(name: str) -> None:
    assert name not in variables.reduced({**SHELL, name: "x"})


@pytest.mark.parametrize(
    "name", ["SCS_ENVIRONMENT", "HOME", "TZ", "NO_COLOR", "https_proxy", "HTTPS_PROXY", "DOCKER_HOST", "_SCS_COMPLETE"]
)
def test_listed_variables_are_kept(name: str) -> None:
    assert variables.reduced({**SHELL, name: "x"})[name] == "x"


def test_the_locale_exists_everywhere() -> None:
    found = variables.reduced({**SHELL, "LANG": "de_DE.UTF-8", "LC_ALL": "C"})
    assert (found["LANG"], found["LC_ALL"]) == ("C.UTF-8", "C.UTF-8")


def test_system_programs_are_found_after_the_operators_own() -> None:
    path = variables.reduced(SHELL)["PATH"].split(os.pathsep)
    assert path[:2] == ["/opt/bin", "/usr/bin"]
    assert "/usr/sbin" in path
    assert len(path) == len(set(path))


@pytest.mark.parametrize("name", variables.FOLDERS)
def test_a_folder_that_does_not_exist_is_dropped(name: str, tmp_path: Path) -> None:
    assert name not in variables.reduced({**SHELL, name: str(tmp_path / "missing")})
    assert variables.reduced({**SHELL, name: str(tmp_path)})[name] == str(tmp_path)


def test_no_proxy_for_programs_that_speak_to_the_region() -> None:
    given = {"https_proxy": "http://p:3128", "HTTP_PROXY": "http://p:3128", "no_proxy": "x", "HOME": "/root"}
    assert variables.without_proxies(given) == {"HOME": "/root"}


def test_a_command_and_its_children_have_nothing_else(tmp_path: Path) -> None:
    """`main` itself, in a process of its own, started from a shell that is set up against it."""
    (tmp_path / "ansible.cfg").write_text("[defaults]\nhash_behaviour = merge\n")
    program = (
        "import json, os, subprocess, sys\n"
        "from scs_deploy.cli import main\n"
        "sys.argv = ['scs', '--version']\n"
        "try:\n    main.main()\nexcept SystemExit:\n    pass\n"
        "child = subprocess.run(['env', '-0'], capture_output=True, text=True).stdout\n"
        "from ansible import constants\n"
        "print(json.dumps([child.split(chr(0)), constants.DEFAULT_HASH_BEHAVIOUR, constants.DEFAULT_TRANSPORT]))\n"
    )
    environ = {**os.environ, **dict.fromkeys(FOREIGN, "x"), "ANSIBLE_TRANSPORT": "local", "LANG": "de_DE.UTF-8"}
    for name in ("PYTHONPATH", "PYTHONIOENCODING", "LD_PRELOAD", "GIT_DIR"):
        del environ[name]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    child, behaviour, transport = json.loads(done.stdout.splitlines()[-1])
    names = {line.partition("=")[0] for line in child}
    assert not names & set(FOREIGN)
    assert f"ANSIBLE_CONFIG={paths.root() / 'ansible.cfg'}" in child
    assert (behaviour, transport) == ("replace", "ssh")
