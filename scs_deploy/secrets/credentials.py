# SPDX-License-Identifier: Apache-2.0
"""The login that a service uses, and the logins that its server accepts: one, or two during a rotation.

secrets.yml holds the state: `<name>_previous` is the previous value, kept until no client uses it; `<name>_next` is one
that every server must know before any uses it. On a server with one
password per user, two users alternate instead, `nova` and `nova_b`; `<name>_user` exists while the second is in use.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from scs_deploy.base.model import Model

PREVIOUS = "_previous"
NEXT = "_next"
USER = "_user"
SECOND = "_b"


class Login(Model):
    """A user and its password."""

    user: str
    password: str = Field(repr=False)


def previous(secrets: Mapping[str, str], secret: str) -> str | None:
    """The previous value of a secret that is being rotated, else None."""
    return secrets.get(secret + PREVIOUS)


def upcoming(secrets: Mapping[str, str], secret: str) -> str | None:
    """The value that a secret will have, if servers must know it first, else None."""
    return secrets.get(secret + NEXT)


def user_key(secret: str) -> str:
    """The key in secrets.yml that exists while the second user is in use."""
    return secret.removesuffix("_password") + USER


def user(secrets: Mapping[str, str], secret: str, name: str) -> str:
    """The user that logs in with a secret.

    :param name: name of the first of the two users
    """
    return secrets.get(user_key(secret)) or name


def other(current: str, name: str) -> str:
    """The other one of the two users."""
    return name + SECOND if current == name else name


def users(secrets: Mapping[str, str], secret: str, name: str) -> tuple[Login, ...]:
    """The logins that a server with one password per user accepts, the current one first."""
    current = user(secrets, secret, name)
    logins = [Login(user=current, password=secrets[secret])]
    if (before := previous(secrets, secret)) is not None:
        logins.append(Login(user=other(current, name), password=before))
    return tuple(logins)


def passwords(secrets: Mapping[str, str], secret: str) -> tuple[str, ...]:
    """The passwords that a server accepts for one user, the current one first."""
    before = previous(secrets, secret)
    return (secrets[secret],) if before is None else (secrets[secret], before)


def base(key: str) -> str:
    """The secret that a key of secrets.yml belongs to: `x_previous` and `x_next` to `x`, `x_user` to `x_password`."""
    for suffix in (PREVIOUS, NEXT):
        if key.endswith(suffix):
            return key.removesuffix(suffix)
    return key.removesuffix(USER) + "_password" if key.endswith(USER) else key
