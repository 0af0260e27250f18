#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Glance's API, which fills no disk, downloads nothing from inside the region, and tells users nothing of its stores.

See reserve.py, egress.py and direct_url.py.
"""

import json
import sys
from pathlib import Path

# First, because it replaces modules with those that do not block.
from glance.cmd.api import main  # isort: skip

from direct_url import for_services
from egress import Egress
from glance.api.v2.images import ResponseSerializer
from glance_store import exceptions
from glance_store._drivers import filesystem
from oslo_context import context
from reserve import reserving


def prepare(folder: Path) -> None:
    """Change what Glance loads later.

    :param folder: of the rendered settings
    """
    settings = json.loads((folder / "api.json").read_text(encoding="utf-8"))
    Egress(settings["inside"], settings["allowed"]).install()
    ResponseSerializer._format_image = for_services(ResponseSerializer._format_image, calling_roles)
    store = filesystem.Store
    store.add = reserving(store.add, exceptions.StorageFull, settings["data"], settings["reserve"])


def calling_roles() -> list[str]:
    """Roles of the service whose token comes with the present request."""
    current = context.get_current()
    return list(current.service_roles) if current else []


if __name__ == "__main__":
    prepare(Path(__file__).parent)
    sys.exit(main())
