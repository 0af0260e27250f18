# SPDX-License-Identifier: Apache-2.0
"""At which revision the schemas of the databases are: what decides whether older images can still work with them.

Alembic keeps it in each schema, https://alembic.sqlalchemy.org/en/latest/tutorial.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scs_deploy.base.errors import ScsError

if TYPE_CHECKING:
    from scs_deploy.region.region import Context


def read(context: Context) -> dict[str, str] | None:
    """Schema: its revisions, joined by `,`; '' where it has none. None: the database does not answer."""
    from scs_deploy.shared import state as region

    schemas = [d for s in context.catalog.services.values() for d in s.databases]
    if not schemas:
        return {}
    try:
        with region.database_session(context) as session:
            return session.revisions(schemas)
    except ScsError:
        return None
