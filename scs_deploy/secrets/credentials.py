# SPDX-License-Identifier: Apache-2.0
"""What a service logs in with, and what its server accepts: one login, or two while a secret is rotated.

secrets.yml says it all: `<name>_previous` is the value before, kept until nobody uses it any more. A server that knows
one password a user has two users instead, `nova` and `nova_b`, used in turn; `<name>_user` is there while the second
one is in use.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from scs_deploy.base.model import Model

PREVIOUS = "_previous"
USER = "_user"
SECOND = "_b"


class Login(Model):
    """A user and its password."""

    user: str
    password: str = Field(repr=False)


def previous(secrets: Mapping[str, str], secret: str) -> str | None:
    """The value before, while its rotation is under way."""
    return secrets.get(secret + PREVIOUS)


def user_key(secret: str) -> str:
    """Where secrets.yml says that the second user is in use."""
    return secret.removesuffix("_password") + USER


def user(secrets: Mapping[str, str], secret: str, name: str) -> str:
    """The user that logs in with a secret.

    :param name: of the first of the two users
    """
    return secrets.get(user_key(secret)) or name


def other(current: str, name: str) -> str:
    """The one of the two users that is not the current one."""
    return name + SECOND if current == name else name


def users(secrets: Mapping[str, str], secret: str, name: str) -> tuple[Login, ...]:
    """The logins that a server with one password a user accepts; the current one comes first."""
    current = user(secrets, secret, name)
    found = [Login(user=current, password=secrets[secret])]
    if (before := previous(secrets, secret)) is not None:
        found.append(Login(user=other(current, name), password=before))
    return tuple(found)


def passwords(secrets: Mapping[str, str], secret: str) -> tuple[str, ...]:
    """The passwords that a server accepts for one user; the current one comes first."""
    before = previous(secrets, secret)
    return (secrets[secret],) if before is None else (secrets[secret], before)


def base(key: str) -> str:
    """The secret that an entry of secrets.yml belongs to: `x_previous` to `x`, `x_user` to `x_password`."""
    if key.endswith(PREVIOUS):
        return key.removesuffix(PREVIOUS)
    return key.removesuffix(USER) + "_password" if key.endswith(USER) else key
