# SPDX-License-Identifier: Apache-2.0
"""Errors in YAML files name file, line and key."""

from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import load_model
from scs_deploy.spec.service import Service

GOOD = "description: x\nhosts: control\ncontainers:\n  a:\n    command: run it\n"


def load(tmp_path: Path, text: str) -> Service:
    path = tmp_path / "service.yml"
    path.write_text(text)
    return load_model(Service, path, {"name": "s", "layer": "core", "directory": tmp_path})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "    capadd: [X]\n", r"service.yml:6: containers.a.capadd: unknown key"),
        (GOOD + "descriptoin: y\n", r"service.yml:6: descriptoin: unknown key"),
        (GOOD + "endpoints:\n  web: {port: 70000}\n", r"service.yml:7: endpoints.web.port: Input should be less than"),
        (GOOD + "description: again\n", r"service.yml:6: duplicate key 'description'"),
        ("hosts: [\n", r"service.yml:2: "),
        ("description: x\nhosts: y\ncontainers: {}\n", r"containers: at least one is needed"),
    ],
)
def test_an_error_names_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        load(tmp_path, text)


def test_a_command_is_split_as_a_shell_would(tmp_path: Path) -> None:
    service = load(tmp_path, GOOD.replace("run it", "run 'two words'"))
    assert service.containers["a"].command == ("run", "two words")
