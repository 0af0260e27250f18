# SPDX-License-Identifier: Apache-2.0
"""The revisions of the database schemas, which determine whether older images still work with them.

Alembic records them in each schema, https://alembic.sqlalchemy.org/en/latest/tutorial.html
"""

from __future__ import annotations

from scs_deploy.base.errors import ScsError
from scs_deploy.region.region import Region
from scs_deploy.shared.state import database_session


def read(region: Region) -> dict[str, str] | None:
    """Schema: its revisions, joined by `,`; '' if it has none. Returns None if the database does not respond."""
    schemas = [d for s in region.catalog.services.values() for d in s.databases]
    if not schemas:
        return {}
    try:
        with database_session(region) as session:
            return session.revisions(schemas)
    except ScsError:
        return None
