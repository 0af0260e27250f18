# SPDX-License-Identifier: Apache-2.0
"""What the service spec says of a container's check, reload and replacement arrives at the node's module."""

from __future__ import annotations

import dataclasses
import importlib
import json
from types import ModuleType

import pytest

from scs_deploy.desired import resolve
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Health, Reload, Roll
from tests.support import node_modules


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return node_modules.load(monkeypatch, "containers")


def test_the_node_uses_the_names_of_the_spec(module: ModuleType) -> None:
    """A renamed option of the spec would be read as absent."""
    definition = importlib.import_module("ansible_collections.scs.core.plugins.module_utils.definition")
    for spec, node in ((Health, definition.Health), (Reload, definition.Reload), (Roll, definition.Roll)):
        assert {f.name for f in dataclasses.fields(node)} <= spec.model_fields.keys()
    # `alone` orders a host's steps, which is done before any reaches the node
    assert {f.name for f in dataclasses.fields(definition.Roll)} == Roll.model_fields.keys() - {"alone"}


def test_a_definition_arrives_whole(module: ModuleType, testbed: Region) -> None:
    plugin = importlib.import_module("ansible_collections.scs.core.plugins.action.containers")
    host = next(iter(testbed.inventory.hosts))
    for name, run in resolve.resolve(testbed, host).containers.items():
        given = {"action": "replace", "container": name} | plugin._definition(run, endpoints(testbed), host)
        action = module.Action.read(json.loads(json.dumps(given)))
        assert action.body == run.body
        assert action.health.command == list(run.health.command or () if run.health else ())
        assert run.health is None or action.health.timeout == run.health.timeout
        assert action.roll.gate == list(run.roll.gate or ())
        assert action.roll.leave == list(run.roll.leave or ())
        assert (action.roll.handover, action.roll.stay) == (run.roll.handover, run.roll.stay or "")
        assert action.roll.timeout == run.roll.timeout
        assert action.reload.command == list((run.reload and run.reload.command) or ())
        assert bool(action.servers) == run.roll.handover
        assert [b for b, _ in action.members] == [e.name for e in endpoints(testbed) if e.container == name]


def test_what_is_not_said_has_its_default(module: ModuleType) -> None:
    action = module.Action.read({"action": "remove", "container": "gone", "reload": None, "roll": {"stay": None}})
    assert (action.wait, action.leave, action.body) == (True, False, {})
    assert (action.health.timeout, action.reload.signal, action.roll.stay) == (60, "", "")
