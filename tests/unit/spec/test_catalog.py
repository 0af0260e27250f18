# SPDX-License-Identifier: Apache-2.0
"""The catalog's order and the mistakes it refuses."""

from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.desired import render
from scs_deploy.spec import catalog, sources


def write(root: Path, layer: str, name: str, extra: str = "", container: str = "") -> None:
    folder = root / layer / name
    folder.mkdir(parents=True)
    (folder / "service.yml").write_text(
        f"description: x\nhosts: control\ncontainers:\n  {container or name}: {{command: run}}\n{extra}"
    )


def load(root: Path) -> catalog.Catalog:
    return catalog.load_from((("infrastructure", root / "infrastructure"), ("openstack", root / "openstack")))


def test_services_come_after_what_they_require(tmp_path: Path) -> None:
    write(tmp_path, "openstack", "nova", "requires: [keystone, queue]\n")
    write(tmp_path, "openstack", "keystone", "requires: [db]\n")
    write(tmp_path, "infrastructure", "db")
    write(tmp_path, "infrastructure", "queue")
    found = load(tmp_path)
    assert list(found.services) == ["db", "queue", "keystone", "nova"]
    assert found.waves == {"db": 0, "queue": 0, "keystone": 1, "nova": 2}
    assert found.required("nova") == {"keystone", "queue", "db"}
    assert found.select(("openstack",)) == {"nova", "keystone"}


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ([("openstack", "a", "requires: [b]\n"), ("openstack", "b", "requires: [a]\n")], "cycle: a -> b -> a"),
        ([("openstack", "a", "requires: [x]\n")], "service.yml:5: requires.0: no service 'x'"),
        ([("infrastructure", "a", "requires: [b]\n"), ("openstack", "b", "")], "'b' is in layer openstack, above"),
        (
            [("openstack", "a", "endpoints: {x: {port: 1}}\n"), ("openstack", "b", "endpoints: {y: {port: 1}}\n")],
            "port 1 belongs to a",
        ),
    ],
)
def test_mistakes_are_refused(tmp_path: Path, services: list[tuple[str, str, str]], message: str) -> None:
    for layer, name, extra in services:
        write(tmp_path, layer, name, extra)
    with pytest.raises(RefusedError, match=message):
        load(tmp_path)


def test_a_container_name_belongs_to_one_service(tmp_path: Path) -> None:
    write(tmp_path, "openstack", "a", container="same")
    write(tmp_path, "openstack", "b", container="same")
    with pytest.raises(RefusedError, match="service a has this container too"):
        load(tmp_path)


def test_an_unknown_name_gets_a_hint(tmp_path: Path) -> None:
    write(tmp_path, "openstack", "keystone")
    with pytest.raises(RefusedError, match="did you mean keystone"):
        load(tmp_path).select(("keyston",))


def example(root: Path, *files: str) -> None:
    """A service whose container has the file run.sh, and these files in its directory."""
    folder = root / "openstack" / "a"
    (folder / "files").mkdir(parents=True)
    (folder / "service.yml").write_text(
        "description: x\nhosts: control\ncontainers:\n  a:\n    command: run\n    config:\n      - {name: run.sh}\n"
    )
    for file in files:
        (folder / file).write_text("exec true # {{ name }}\n")


@pytest.mark.parametrize("file", ["run.sh.j2", "files/run.sh"])
def test_a_file_is_a_template_or_a_program(tmp_path: Path, file: str) -> None:
    example(tmp_path, file)
    service = load(tmp_path).services["a"]
    found = sources.source(service, "a", "run.sh")
    assert found == service.directory / file
    text = "exec true # x\n" if file.endswith(".j2") else "exec true # {{ name }}\n"
    assert render.text(service, found, {"name": "x"}) == text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), r"service.yml:7: containers.a.config.0: 'run.sh' has no source"),
        (("run.sh.j2", "files/run.sh"), r"service.yml:7: containers.a.config.0: 'run.sh' has more than one source"),
        (("run.sh",), "has no source"),
    ],
)
def test_a_file_without_a_source_or_with_two_is_refused(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    example(tmp_path, *files)
    with pytest.raises(RefusedError, match=message):
        load(tmp_path)
