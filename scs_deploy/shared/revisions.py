# SPDX-License-Identifier: Apache-2.0
"""At which revision the schemas of the databases are: what decides whether older images can still work with them.

Alembic keeps it in each schema, https://alembic.sqlalchemy.org/en/latest/tutorial.html
"""

from __future__ import annotations

from scs_deploy.base.errors import ScsError
from scs_deploy.region.region import Region
from scs_deploy.shared import state as shared_state


def read(region: Region) -> dict[str, str] | None:
    """Schema: its revisions, joined by `,`; '' where it has none. None: the database does not answer."""

    schemas = [d for s in region.catalog.services.values() for d in s.databases]
    if not schemas:
        return {}
    try:
        with shared_state.database_session(region) as session:
            return session.revisions(schemas)
    except ScsError:
        return None
