# SPDX-License-Identifier: Apache-2.0
"""Shows where an image's data is to other services only, which clone it in Ceph instead of copying it.

Glance shows it to every user or to nobody. It tells users the cluster's id, pools and names of objects, and whoever may
write it replaces an image's data: https://wiki.openstack.org/wiki/OSSN/OSSN-0090. Nova and Cinder send the token of
their own account beside the user's, and so do not need a second, unprotected API.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

SERVICE = "service"
"""The role of services' accounts."""

KEY = "direct_url"

View = dict[str, Any]


def for_services(format_image: Callable[..., View], roles: Callable[[], Iterable[str]]) -> Callable[..., View]:
    """Wrap the method that describes an image in a response.

    :param roles: of the calling service's token, in the present request; empty without one
    """

    @wraps(format_image)
    def describe(*args: Any, **kwargs: Any) -> View:
        view = format_image(*args, **kwargs)
        if SERVICE not in roles():
            view.pop(KEY, None)
        return view

    return describe
