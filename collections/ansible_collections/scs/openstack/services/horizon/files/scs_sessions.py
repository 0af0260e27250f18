# SPDX-License-Identifier: Apache-2.0
"""Django's cache in the region's memcached, which holds what Horizon has signed.

A session holds objects, which JSON cannot express. Horizon unpickles its own only: see memcache.py.
"""

from typing import Any

import memcache
from django.core.cache.backends.memcached import BaseMemcachedCache


class Sessions(BaseMemcachedCache):  # type: ignore[misc]
    """The backend, with the module that stands in the place of python-memcached."""

    def __init__(self, servers: list[str], parameters: dict[str, Any]) -> None:
        super().__init__(servers, parameters, library=memcache, value_not_found_exception=ValueError)

    def close(self, **_: Any) -> None:
        """Called after every request: the thread keeps its connections for the next one."""
