# SPDX-License-Identifier: Apache-2.0
"""The fixed user and group ids of all images (`images/users.yml`)."""

from __future__ import annotations

from functools import lru_cache

from pydantic import RootModel, model_validator

from scs_deploy.base import paths
from scs_deploy.base.model import Model, load_yaml, validate


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


def differences(passwd: str, group: str) -> list[str]:
    """Users and groups of an image whose ids are not the fixed ones; empty when all are right.

    :param passwd: content of the image's /etc/passwd
    :param group: content of its /etc/group
    """
    groups = {fields[0]: fields[2] for line in group.splitlines() if len(fields := line.split(":")) > 2}
    found = {fields[0]: (fields[2], fields[3]) for line in passwd.splitlines() if len(fields := line.split(":")) > 3}
    wrong = []
    for name, user in load().items():
        if user.uid is None and groups.get(name) != str(user.gid):
            wrong.append(f"group {name} is {groups.get(name, 'missing')}, not {user.gid}")
        elif user.uid is not None and found.get(name) != (str(user.uid), str(user.gid)):
            wrong.append(f"user {name} is {':'.join(found.get(name, ('missing',)))}, not {user.uid}:{user.gid}")
    return wrong
