# SPDX-License-Identifier: Apache-2.0
"""The fixed user and group ids of all images (`images/users.yml`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import RootModel, model_validator

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, load_yaml, validate, where

FILE = "users.yml"
FIRST_LOGIN = 1000
"""First id of users that log in; packages refuse an existing user with such an id."""
HINT = "use ids from 700 to 899, which scs never takes"


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
    """All users that scs ships, by name.

    :raises RefusedError: an error in images/users.yml
    """
    path = paths.root() / "images" / FILE
    return validate(_Users, load_yaml(path), path).root


def load_own(folder: Path) -> dict[str, User]:
    """The users of an environment's own images, by name: its `users.yml`.

    :raises RefusedError: an error in the file, or a name or an id that a shipped user has
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    own = validate(_Users, load_yaml(path) or {}, path).root
    shipped = load()
    ids = {user.uid: name for name, user in shipped.items() if user.uid is not None}
    for name, user in own.items():
        if name in shipped:
            raise RefusedError(f"{where(path, (name,))}: scs has a user '{name}' itself", "choose another name")
        if user.uid in ids:
            raise RefusedError(f"{where(path, (name, 'uid'))}: uid {user.uid} belongs to {ids[user.uid]}", HINT)
        if (user.uid or user.gid) >= FIRST_LOGIN:
            raise RefusedError(f"{where(path, (name,))}: the ids of system users are below {FIRST_LOGIN}", HINT)
        for group in user.groups:
            if group not in own and group not in shipped:
                there = ", ".join(sorted({*own, *shipped}))
                raise RefusedError(f"{where(path, (name, 'groups'))}: no group '{group}'", f"there are: {there}")
    return own


def differences(passwd: str, group: str, own: Mapping[str, User] | None = None) -> list[str]:
    """Users and groups of an image whose ids are not the fixed ones; empty when all are right.

    :param passwd: content of the image's /etc/passwd
    :param group: content of its /etc/group
    :param own: users that this image has beside the shipped ones
    """
    groups = {fields[0]: fields[2] for line in group.splitlines() if len(fields := line.split(":")) > 2}
    found = {fields[0]: (fields[2], fields[3]) for line in passwd.splitlines() if len(fields := line.split(":")) > 3}
    wrong = []
    for name, user in {**load(), **(own or {})}.items():
        if user.uid is None and groups.get(name) != str(user.gid):
            wrong.append(f"group {name} is {groups.get(name, 'missing')}, not {user.gid}")
        elif user.uid is not None and found.get(name) != (str(user.uid), str(user.gid)):
            wrong.append(f"user {name} is {':'.join(found.get(name, ('missing',)))}, not {user.uid}:{user.gid}")
    return wrong
