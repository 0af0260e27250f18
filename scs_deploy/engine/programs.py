# SPDX-License-Identifier: Apache-2.0
"""The programs that read hosts: files of the collection scs.core, which Ansible can run too, as one text for Python.

They need nothing on the host but Python's standard library, and leave nothing there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from scs_deploy.base import paths

MARKER = "<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"
"""Where a module that is a single file takes its arguments."""

_LIBRARY = "ansible_collections.scs.core.plugins.module_utils"

_LOADER = """
import json, sys, types
for name, text in {files}:
    sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), vars(sys.modules[name]))
answers = sys.modules[name].answers(**json.loads({arguments}))
print(json.dumps({{"answers": answers}}))
"""


def single(module: str, arguments: Mapping[str, Any]) -> str:
    """A module that is a single file, with its arguments put in as Ansible does it."""
    return _text("modules", module).replace(MARKER, json.dumps(arguments))


def commands(asked: Sequence[Mapping[str, Any]], together: bool) -> str:
    """The program that runs commands in containers of its host; see module_utils/commands.py."""
    files = [(f"{_LIBRARY}.{name}", _text("module_utils", name)) for name in ("engine", "commands")]
    arguments = json.dumps({"commands": asked, "together": together})
    return _LOADER.format(files=ascii(files), arguments=ascii(arguments))


def textfile(path: str, content: str) -> str:
    """The program that writes a file of metrics on its host; see module_utils/textfile.py."""
    files = [(f"{_LIBRARY}.textfile", _text("module_utils", "textfile"))]
    return _LOADER.format(files=ascii(files), arguments=ascii(json.dumps({"path": path, "content": content})))


@lru_cache(maxsize=8)
def _text(kind: str, name: str) -> str:
    return (paths.layer("core") / "plugins" / kind / f"{name}.py").read_text(encoding="utf-8")
