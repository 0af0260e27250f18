# SPDX-License-Identifier: Apache-2.0
"""The fixed user and group ids of all images (`images/users.yml`)."""

from __future__ import annotations

from functools import lru_cache

from pydantic import RootModel, model_validator

from scs_deploy import paths
from scs_deploy.model import Model, load_yaml, validate


class User(Model):
    """A user, or a group alone when it has no uid."""

    uid: int | None = None
    gid: int
    groups: tuple[str, ...] = ()


class _Users(RootModel[dict[str, User]]):
    @model_validator(mode="after")
    def _unique(self) -> _Users:
        seen: dict[int, str] = {}
        for name, user in self.root.items():
            if user.uid is not None and user.uid in seen:
                raise ValueError(f"{name}: uid {user.uid} belongs to {seen[user.uid]}")
            if user.uid is not None:
                seen[user.uid] = name
        return self


@lru_cache(maxsize=1)
def load() -> dict[str, User]:
    """All users by name.

    :raises RefusedError: an error in images/users.yml
    """
    path = paths.root() / "images" / "users.yml"
    return validate(_Users, load_yaml(path), path).root
