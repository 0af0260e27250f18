# SPDX-License-Identifier: Apache-2.0
"""What services keep in memcached: a real one, with TLS and a password, and the clients that services have."""

from __future__ import annotations

import pickle
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import memcache
import pytest

from tests.support.images import needs
from tests.support.live_memcached import HOST, PORT, Poison, Server, needs_memcached, poison, running
from tests.support.peer_hosts import eventually

pytestmark = needs_memcached
KEYSTONE, HORIZON = "scs/keystone:2025.1", "scs/horizon:2025.1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("memcached")) as started:
        yield started


def test_values_are_kept_for_all_members(server: Server, tmp_path: Path) -> None:
    one, other = (server.client("keystone", tmp_path) for _ in range(2))
    assert one.set("key", {"a": (1, [2])})
    assert other.get("key") == {"a": (1, [2])}
    assert not other.add("key", 1)
    assert other.add("new", 1, time=60)
    assert other.touch("new", 90)
    assert one.get_multi(["key", "new", "none"]) == {"key": {"a": (1, [2])}, "new": 1}
    assert one.set_multi({"x": 1, "y": None}) == []
    assert other.get_multi(["x", "y"]) == {"x": 1, "y": None}
    assert one.delete("key")
    assert not other.delete("key")
    assert other.get("key", "default") == "default"


def test_keys_are_data_not_protocol(server: Server, tmp_path: Path) -> None:
    client = server.client("keystone", tmp_path)
    for key in ("a b\r\nflush_all", "x" * 1000, "schlüssel", b"\0"):
        assert client.set(key, repr(key))
        assert client.get(key) == repr(key)


def test_the_poison_works_where_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Poison(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


def test_what_the_service_has_not_signed_is_a_miss(server: Server, tmp_path: Path) -> None:
    client = server.client("keystone", tmp_path)
    client.set("token", "good")
    poison(client, "token", tmp_path / "marker")
    client.set("token", "good")
    assert client.get("token") == "good"


def test_services_do_not_believe_each_other(server: Server, tmp_path: Path) -> None:
    keystone = server.client("keystone", tmp_path / "keystone")
    placement = server.client("placement", tmp_path / "placement")
    placement.set("key", "of placement")
    assert keystone.get("key") is None
    name, content = keystone._name("key"), pickle.dumps("of placement")
    sealed = memcache._signature(placement._keys[0], name, content) + content
    placement._ask(name, b"set %s 0 0 %d\r\n%s\r\n" % (name, len(sealed), sealed))
    assert keystone.get("key") is None


def test_while_a_secret_is_rotated_members_with_the_new_one_read_both(server: Server, tmp_path: Path) -> None:
    old = server.client("keystone", tmp_path, keys=["old"])
    new = server.client("keystone", tmp_path, keys=["new", "old"])
    old.set("key", 1)
    assert new.get("key") == 1
    new.set("key", 2)
    assert old.get("key") is None
    assert new.delete("key")
    new.set("key", 3)
    old.delete("key")
    assert new.get("key") is None


def test_without_the_password_nothing_is_read_or_written(server: Server, tmp_path: Path) -> None:
    right = server.client("keystone", tmp_path)
    right.set("key", 1)
    wrong = server.client("keystone", tmp_path, password="guessed")
    assert wrong.get("key") is None
    assert not wrong.set("key", 2)
    memcache._DEAD.clear()
    assert right.get("key") == 1
    context = ssl.create_default_context(cafile=str(server.hosts.path(HOST, "etc", "ca.crt")))
    name = right._name("key")
    for command in (b"get %s" % name, b"delete %s" % name, b"flush_all", b"stats", b"mg %s v" % name):
        with (
            socket.create_connection((server.address, PORT), 5) as plain,
            context.wrap_socket(plain, server_hostname=server.address) as connection,
        ):
            connection.sendall(command + b"\r\n")
            assert b"CLIENT_ERROR unauthenticated" in connection.recv(4096), command
    assert right.get("key") == 1


def test_there_is_no_plain_listener(server: Server) -> None:
    with socket.create_connection((server.address, PORT), 5) as plain:
        plain.sendall(b"version\r\n")
        with suppress(ConnectionResetError):
            assert b"VERSION" not in plain.recv(4096)


def test_passwords_and_certificates_are_read_again_without_losing_values(server: Server, tmp_path: Path) -> None:
    users = server.hosts.path(HOST, "etc", "users")
    before = users.read_text()
    client = server.client("keystone", tmp_path)
    client.set("key", 1)
    try:
        users.write_text("scs:next\n" + before)
        assert server.execute("/etc/memcached/reload.sh", server.address) == 0
        eventually(lambda: server.client("keystone", tmp_path, password="next").get("key") == 1)
        assert server.client("keystone", tmp_path).get("key") == 1
    finally:
        users.write_text(before)
        server.execute("/etc/memcached/reload.sh", server.address)
    eventually(lambda: server.client("keystone", tmp_path, password="next").get("key") is None)


def test_a_server_that_is_away_is_a_miss_and_used_again_when_it_is_back(tmp_path: Path) -> None:
    with running(tmp_path / "server", "ha-2") as started:
        client = started.client("keystone", tmp_path)
        client.set("key", 1)
        started.stop()
        assert client.get("key") is None
        assert not client.set("key", 1)
        started.start()
        assert client.get("key") is None  # not asked yet
        memcache._DEAD.clear()
        assert client.set("key", 2)
        assert client.get("key") == 2


def test_a_restarted_server_costs_no_miss_of_a_new_value(tmp_path: Path) -> None:
    with running(tmp_path / "server", "ha-2") as started:
        client = started.client("keystone", tmp_path)
        client.set("key", 1)
        started.stop()
        started.start()
        assert client.set("key", 2)
        assert client.get("key") == 2


OSLO = """
import logging, os, sys
from oslo_cache import core
from oslo_config import cfg
from keystonemiddleware.auth_token import _cache

servers = [os.environ["SERVER"]]
conf = cfg.ConfigOpts()
core.configure(conf)
conf([])
conf.set_override("enabled", True, "cache")
conf.set_override("backend", "oslo_cache.memcache_pool", "cache")
conf.set_override("memcache_servers", servers, "cache")
region = core.create_region()
core.configure_cache_region(conf, region)
tokens = _cache.SecureTokenCache(
    logging.getLogger(), "ENCRYPT", "secret", memcached_servers=servers, cache_time=300, dead_retry=10,
    socket_timeout=1, maxsize=10, unused_timeout=60, conn_get_timeout=10,
)
tokens.initialize({})
%s
"""


@needs(KEYSTONE)
def test_oslo_cache_and_the_middleware_use_it(server: Server, tmp_path: Path) -> None:
    script = """
region.set("a", {"x": (1, 2)})
region.set_multi({"b": 1, "c": 2})
region.delete("c")
tokens.set("token", {"user": 1})
print(region.get("a"), region.get_multi(["b", "c"])[0], region.get("c") is core.NO_VALUE, tokens.get("token"))
"""
    assert server.run("keystone", KEYSTONE, tmp_path, OSLO % script) == "{'x': (1, 2)} 1 True {'user': 1}"


@needs(KEYSTONE)
def test_keystone_ignores_a_poisoned_value(server: Server, tmp_path: Path) -> None:
    """Its marker would be made where Keystone runs."""
    script = """
import memcache, pickle, pathlib
class Poison:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("/tmp/marker"),)
region.set("a", "good")
client = memcache.Client(servers)
name, content = client._name(region.key_mangler("a")), pickle.dumps(Poison())
assert client._ask(name, b"get %s\\r\\n" % name)[1], "not the key that Keystone reads"
client._ask(name, b"set %s 1 0 %d\\r\\n%s\\r\\n" % (name, len(content), content))
print(region.get("a") is core.NO_VALUE, region.get_or_create("a", lambda: "new"), pathlib.Path("/tmp/marker").exists())
"""
    assert server.run("keystone", KEYSTONE, tmp_path, OSLO % script) == "True new False"


@needs(HORIZON)
def test_horizon_ignores_a_poisoned_session(server: Server, tmp_path: Path) -> None:
    script = """
import os, pathlib, pickle
from django.conf import settings
settings.configure(
    CACHES={"sessions": {"BACKEND": "scs_sessions.Sessions", "LOCATION": [os.environ["SERVER"]]},
            "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    SESSION_CACHE_ALIAS="sessions", SECRET_KEY="x")
from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import caches
session = SessionStore()
session["token"] = pathlib.PurePath("/an/object")
session.save()
key = session.session_key
print(SessionStore(key)["token"], end=" ")
class Poison:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("/tmp/marker"),)
cache = caches["sessions"]
client = cache._cache
name, content = client._name(cache.make_key(session.cache_key)), pickle.dumps(Poison())
assert client._ask(name, b"get %s\\r\\n" % name)[1], "not the key that Horizon reads"
client._ask(name, b"set %s 1 0 %d\\r\\n%s\\r\\n" % (name, len(content), content))
print(dict(SessionStore(key).items()), pathlib.Path("/tmp/marker").exists())
"""
    assert server.run("horizon", HORIZON, tmp_path, script) == "/an/object {} False"
