# SPDX-License-Identifier: Apache-2.0
"""MariaDB schemas, their users and grants: one session reads everything, a pure function compares, differences change.

A user has the name of its service, connects from any host, only over TLS, and owns only its service's schemas. Schemas
and users that are no longer wanted are not removed: removing data is the operator's decision.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import Field

from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model
from scs_deploy.plan.change import REGION, Change, Kind, Shared, SharedObject, shared_objects
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase

CHARSET = "utf8mb4"
KEPT = frozenset({CHARSET, "utf8mb3"})
"""Accepted character sets: Keystone's first migration sets its schema's default to utf8mb3 itself."""
COLLATION = "utf8mb4_general_ci"
OWNER = "mariadb"
"""The service that runs the server and owns the server's own accounts."""
_DENIED = 1045
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_OPTION = " WITH GRANT OPTION"
_GRANT = re.compile(r"GRANT (?P<what>.+) ON (?P<on>\S+) TO ")


class User(Model):
    """A desired user."""

    passwords: tuple[str, ...] = Field(repr=False, description="all accepted passwords, the current one first")
    schemas: tuple[str, ...]


class Desired(Model):
    """The desired users by name, which is that of their service. Each owns its schemas."""

    users: dict[str, User]
    own: dict[str, tuple[str, ...]] = Field(
        default={}, repr=False, description="`user@host` of the server's own accounts: their passwords"
    )

    @classmethod
    def build(
        cls,
        schemas: Mapping[str, Iterable[str]],
        passwords: Mapping[str, tuple[str, ...]],
        own: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Desired:
        """Build from service -> its schemas, and service -> its passwords.

        :raises ScsError: a name is not a plain identifier
        """
        for name in [*schemas, *(s for names in schemas.values() for s in names)]:
            if not _NAME.fullmatch(name):
                raise ScsError(f"database: '{name}' is not a valid name for a schema or user", "use [a-z0-9_]")
        users = {s: User(passwords=passwords[s], schemas=tuple(n)) for s, n in schemas.items() if n}
        return cls(users=users, own=dict(own or {}))


class ObservedUser(Model):
    """A user on the server."""

    hashes: tuple[str, ...] = Field(repr=False, description="hashes of all accepted passwords")
    ssl: bool
    grants: tuple[str, ...] = Field(description="`privileges ON schema`, sorted, without USAGE")


class Observed(Model):
    """The schemas with their character sets, and the users with host '%'."""

    schemas: dict[str, str]
    users: dict[str, ObservedUser]
    own: dict[str, tuple[str, ...]] = Field(
        default={}, repr=False, description="`user@host`: hashes of all accepted passwords"
    )


def diff(desired: Desired, observed: Observed | None) -> tuple[Change, ...]:
    """The necessary changes. If `observed` is None (the server is not deployed yet), everything is created.

    `Change.shared` is a schema or a user.
    """
    changes: list[Change] = []
    for name, user in desired.users.items():
        for schema in user.schemas:
            reason = _schema_reason(schema, observed)
            if reason:
                new = observed is None or schema not in observed.schemas
                changes.append(_change(Shared.SCHEMA, name, schema, reason, Impact.NONE, new))
        reason = _user_reason(name, user, observed)
        if reason:
            new = observed is None or name not in observed.users
            changes.append(_change(Shared.USER, name, name, reason, Impact.NONE if new else Impact.API, new))
    for who, passwords in desired.own.items():
        # an account that was not created with the server is not created later
        reason = _password_reason(passwords, observed.own[who]) if observed and who in observed.own else ""
        if reason:
            changes.append(_change(Shared.USER, OWNER, who, reason, Impact.API))
    return tuple(changes)


def _password_reason(wanted: tuple[str, ...], hashes: tuple[str, ...]) -> str:
    expected = [native_hash(p) for p in wanted]
    if expected[0] not in hashes:
        return "password differs"
    if not set(expected) <= set(hashes):
        return "the previous password is not accepted, but may still be in use"
    return "" if set(hashes) <= set(expected) else "an old password is still accepted"


def native_hash(password: str) -> str:
    """The server's hash of a password: `*` and SHA1(SHA1(password)) in hex.

    https://mariadb.com/kb/en/authentication-plugin-mysql_native_password/
    """
    inner = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()


def _schema_reason(schema: str, observed: Observed | None) -> str:
    if observed is None:
        return "not created yet"
    if schema not in observed.schemas:
        return "missing"
    if observed.schemas[schema] not in KEPT:
        return f"character set {observed.schemas[schema]} -> {CHARSET}"
    return ""


def _user_reason(name: str, user: User, observed: Observed | None) -> str:
    if observed is None:
        return "not created yet"
    present = observed.users.get(name)
    if present is None:
        return "missing"
    password = _password_reason(user.passwords, present.hashes)
    reasons = [password] if password else []
    if not present.ssl:
        reasons.append("TLS is not required")
    wanted = set(_grants(user))
    reasons += [f"missing grant: {g}" for g in sorted(wanted - set(present.grants))]
    reasons += [f"unwanted grant: {g}" for g in sorted(set(present.grants) - wanted)]
    return "; ".join(reasons)


def _grants(user: User) -> list[str]:
    return sorted(f"ALL PRIVILEGES ON {_pattern(schema)}.*" for schema in user.schemas)


def _pattern(schema: str) -> str:
    # in a grant, `_` matches any character: without the escape, the owner of nova_api would also own novaXapi
    return "`" + schema.replace("_", "\\_") + "`"


def _change(kind: Shared, service: str, name: str, reason: str, impact: Impact, new: bool = False) -> Change:
    shared = SharedObject(server=OWNER, kind=kind, name=name)
    return Change(
        kind=Kind.DATABASE if kind is Shared.SCHEMA else Kind.ACCOUNT, service=service, host=REGION,
        subject=str(shared), reason=reason, phase=Phase.DATABASE, impact=impact, creates=new, shared=shared,
    )  # fmt: skip


class Database:
    """A session with the server as its administrator, as a context manager.

    :param host: internal API name or address; the server's certificate must name it
    :param passwords: the current one, and the previous one during a rotation
    :param ca_file: the region CA
    :param timeout: seconds for the connection and for each response
    """

    def __init__(
        self,
        host: str,
        passwords: tuple[str, ...],
        ca_file: Path,
        user: str = "root",
        port: int = 3306,
        timeout: float = 10,
    ) -> None:
        self._passwords = passwords
        self._parameters: dict[str, Any] = {
            "host": host,
            "port": port,
            "user": user,
            "ssl_ca": str(ca_file),
            "ssl_verify_cert": True,
            "ssl_verify_identity": True,
            "connect_timeout": timeout,
            "read_timeout": max(timeout, 60),
            "write_timeout": max(timeout, 60),
            "charset": CHARSET,
            "autocommit": True,
        }
        self._connection: Any = None

    def __enter__(self) -> Database:
        # imported here: regions without a database do not need it
        import pymysql

        for number, password in enumerate(self._passwords, 1):
            try:
                self._connection = pymysql.connect(**self._parameters, password=password)
                break
            except (pymysql.Error, OSError, RuntimeError) as error:
                denied = bool(error.args) and error.args[0] == _DENIED
                if not denied or number == len(self._passwords):
                    raise ScsError(f"mariadb at {self._at}: {_say(error)}", "scs status mariadb") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @property
    def _at(self) -> str:
        return f"{self._parameters['host']}:{self._parameters['port']}"

    def read(self, desired: Desired) -> Observed:
        """Read all schemas and the desired users.

        :raises ScsError: the server cannot be read
        """
        schemas = {
            str(name): str(charset)
            for name, charset in self._ask(
                "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA"
            )
        }
        rows = self._ask(
            "SELECT u.User, u.Host, u.ssl_type, g.Priv FROM mysql.user u "
            "JOIN mysql.global_priv g ON g.User = u.User AND g.Host = u.Host"
        )
        users, own = {}, {}
        for name, host, ssl, stored in rows:
            hashes = stored_hashes(stored)
            if name in desired.users and host == "%":
                users[name] = ObservedUser(hashes=hashes, ssl=ssl == "ANY", grants=self._grants_of(name))
            elif f"{name}@{host}" in desired.own:
                own[f"{name}@{host}"] = hashes
        return Observed(schemas=schemas, users=users, own=own)

    def revisions(self, schemas: Iterable[str]) -> dict[str, str]:
        """Schema: the revisions that Alembic recorded in it, sorted and joined by `,`; '' if there are none."""
        wanted = [s for s in schemas if _NAME.fullmatch(s)]
        tables = self._ask("SELECT TABLE_SCHEMA FROM information_schema.TABLES WHERE TABLE_NAME = 'alembic_version'")
        recorded = {str(schema) for (schema,) in tables}
        result = {}
        for schema in wanted:
            rows = self._ask(f"SELECT version_num FROM `{schema}`.alembic_version") if schema in recorded else []  # noqa: S608 - checked
            result[schema] = ",".join(sorted(str(v) for (v,) in rows))
        return result

    def _grants_of(self, user: str) -> tuple[str, ...]:
        grants = []
        for (line,) in self._ask(f"SHOW GRANTS FOR `{user}`@'%'"):
            match = _GRANT.match(line)
            if match and match["what"] != "USAGE":
                suffix = _OPTION if line.endswith(_OPTION) else ""
                grants.append(f"{match['what']} ON {match['on']}{suffix}")
        return tuple(sorted(grants))

    def apply(self, desired: Desired, changes: Iterable[Change]) -> None:
        """Apply changes from `diff`. Each is idempotent.

        :raises ScsError: the server rejects a change
        """
        for shared in shared_objects(changes):
            name, subject = shared.name, str(shared)
            if shared.kind is Shared.SCHEMA:
                statements = _schema_statements(name)
            elif name in desired.own:
                statements = [_own_statement(name, desired.own[name])]
            else:
                statements = _user_statements(name, desired.users[name])
            for statement, parameters in statements:
                self._ask(statement, parameters, subject)
            if shared.kind is Shared.USER and name in desired.users:
                self._grant(name, desired.users[name], subject)

    def _grant(self, name: str, user: User, subject: str) -> None:
        # change only the differences: services keep working with their other schemas
        wanted, present = set(_grants(user)), set(self._grants_of(name))
        for grant in sorted(wanted - present):
            self._ask(f"GRANT {grant} TO `{name}`@'%'", subject=subject)
        for grant in sorted(present - wanted):
            what, _, on = grant.removesuffix(_OPTION).rpartition(" ON ")
            if grant.endswith(_OPTION):
                self._ask(f"REVOKE GRANT OPTION ON {on} FROM `{name}`@'%'", subject=subject)
            if grant.removesuffix(_OPTION) not in wanted:
                self._ask(f"REVOKE {what} ON {on} FROM `{name}`@'%'", subject=subject)

    def _ask(self, statement: str, parameters: tuple[str, ...] = (), subject: str = "") -> list[tuple[Any, ...]]:
        import pymysql

        try:
            with self._connection.cursor() as cursor:
                # without parameters, % needs no escaping
                cursor.execute(statement, parameters or None)
                return list(cursor.fetchall())
        except pymysql.Error as error:
            where = f": {subject}" if subject else ""
            raise ScsError(f"mariadb at {self._at}{where}: {_say(error)}", "scs logs mariadb") from None


def _schema_statements(schema: str) -> list[tuple[str, tuple[str, ...]]]:
    what = f"`{schema}` CHARACTER SET {CHARSET} COLLATE {COLLATION}"
    return [(f"CREATE DATABASE IF NOT EXISTS {what}", ()), (f"ALTER DATABASE {what}", ())]


def _user_statements(name: str, user: User) -> list[tuple[str, tuple[str, ...]]]:
    who = f"`{name}`@'%%'"
    identified = f"{who} IDENTIFIED VIA {_either(user.passwords)} REQUIRE SSL"
    hashed = tuple(native_hash(p) for p in user.passwords)
    return [(f"CREATE USER IF NOT EXISTS {identified}", hashed), (f"ALTER USER {identified}", hashed)]


def _own_statement(who: str, passwords: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    name, _, host = who.partition("@")
    # privileges and TLS requirement do not change
    statement = f"ALTER USER `{name}`@'{host.replace('%', '%%')}' IDENTIFIED VIA {_either(passwords)}"
    return statement, tuple(native_hash(p) for p in passwords)


def _either(passwords: tuple[str, ...]) -> str:
    """Accept any of several passwords. The parameters are hashes, so that no log contains a password.

    https://mariadb.com/docs/server/reference/sql-statements/account-management-sql-statements/create-user
    """
    return " OR ".join("mysql_native_password USING %s" for _ in passwords)


def stored_hashes(text: str) -> tuple[str, ...]:
    """Hashes of all passwords in a row of mysql.global_priv. Those of other plugins get a prefix and never match.

    `auth_or` lists alternatives. An empty alternative stands for the row itself.
    """
    row = json.loads(text)
    hashes = []
    for one in [e or row for e in row.get("auth_or", [row])]:
        plugin = one.get("plugin", "mysql_native_password")
        hashed = str(one.get("authentication_string", ""))
        hashes.append(hashed if plugin == "mysql_native_password" else f"{plugin}:{hashed}")
    return tuple(hashes)


def _say(error: BaseException) -> str:
    text = str(error.args[1] if len(error.args) > 1 else error) or type(error).__name__
    return " ".join(text.split())
