#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Maps cell0 and cell1 in the API database, or updates their URLs, in place of four calls of nova-manage cell_v2.

Arguments: templates of the database URL, up to the schema, and of the message broker's URL.
"""

import sys

from nova import config, context, objects
from oslo_utils import uuidutils


def main(database: str, transport: str) -> None:
    config.parse_args(["cells"])
    objects.register_all()
    admin = context.get_admin_context()
    known = {cell.name: cell for cell in objects.CellMappingList.get_all(admin)}
    for name, uuid, broker, schema in (
        ("cell0", objects.CellMapping.CELL0_UUID, "none:///", "nova_cell0"),
        ("cell1", uuidutils.generate_uuid(), transport, "nova"),
    ):
        new = name not in known
        cell = objects.CellMapping(admin, uuid=uuid, name=name) if new else known[name]
        cell.transport_url = broker
        cell.database_connection = f"{database}{schema}?{{query}}"
        cell.create() if new else cell.save()
        print(name, cell.uuid, "created" if new else "known")


if __name__ == "__main__":
    main(*sys.argv[1:])
