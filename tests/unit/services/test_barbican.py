# SPDX-License-Identifier: Apache-2.0
"""What Barbican does for users and operators: a real one of the region's image on loopback, with the region's files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import barbican_clean
import kek
import pytest
import requests
from cryptography.fernet import Fernet

from scs_deploy.desired import resolve
from scs_deploy.environment import overrides
from scs_deploy.region.region import Region
from scs_deploy.validate.checks import secrets as checks
from scs_deploy.validate.registry import CheckFailedError, NotApplicableError
from tests.support.images import needs
from tests.support.live_barbican import DATABASE_IMAGE, IMAGE, LiveBarbican, barbican

MEMBER, COLLEAGUE, READER = "alice:red:member,reader", "bob:red:member,reader", "eve:red:reader"
STRANGER, ADMINISTRATOR = "carol:blue:member,reader", "root:admin:admin,manager,member,reader"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveBarbican]:
    with barbican(tmp_path_factory.mktemp("barbican")) as made:
        yield made


class Adapter:
    """What a member asks with."""

    def __init__(self, live: LiveBarbican, who: str) -> None:
        self.live, self.who = live, who

    def request(self, path: str, method: str, headers: dict[str, str]) -> requests.Response:
        return self.live.ask(method, path, self.who, accept=headers["Accept"])

    def get(self, path: str, headers: dict[str, str]) -> requests.Response:
        return self.request(path, "GET", headers)

    def post(self, path: str, json: Any) -> requests.Response:
        return self.live.ask("POST", path, self.who, json)

    def delete(self, path: str) -> requests.Response:
        return self.live.ask("DELETE", path, self.who)


def Cloud(*types: str) -> Any:  # noqa: N802 - stands for a class
    """A connection whose catalogue has these types of services."""
    access = SimpleNamespace(service_catalog=SimpleNamespace(catalog=[{"type": name} for name in types]))
    return SimpleNamespace(session=SimpleNamespace(auth=SimpleNamespace(get_access=lambda _session: access)))


def test_a_region_without_barbican_is_no_failure() -> None:
    region: Any = SimpleNamespace(name="scs-validate-1", cloud=Cloud("identity"))
    with pytest.raises(NotApplicableError, match="no key-manager"):
        checks.secret(region)


def rows(live: LiveBarbican, table: str) -> int:
    return int(live.sql(f"SELECT COUNT(*) FROM {table}"))


@needs(IMAGE)
@needs(DATABASE_IMAGE)
class TestLive:
    def test_members_store_and_share_in_their_project_only(self, live: LiveBarbican) -> None:
        url = live.store(MEMBER, "payload of red")
        assert live.read(url, MEMBER) == live.read(url, COLLEAGUE) == "payload of red"
        assert [live.read(url, who) for who in (READER, STRANGER, ADMINISTRATOR)] == [403, 403, 403]
        assert live.ask("GET", url, STRANGER).status_code == 403
        assert live.ask("DELETE", url, STRANGER).status_code == 403
        assert live.ask("POST", "/v1/secrets", READER, {"name": "s"}).status_code == 403
        assert url not in live.ask("GET", "/v1/secrets", STRANGER).text
        assert live.ask("DELETE", url, COLLEAGUE).status_code == 204
        assert live.read(url, MEMBER) == 404

    def test_an_administrator_sees_and_deletes_what_it_cannot_read(self, live: LiveBarbican) -> None:
        url = live.store(MEMBER, "payload of red")
        assert live.ask("GET", url, ADMINISTRATOR).json()["name"] == "s"
        assert live.read(url, ADMINISTRATOR) == 403
        assert live.ask("DELETE", url, ADMINISTRATOR).status_code == 204
        assert live.read(url, MEMBER) == 404

    def test_an_administrator_reads_through_nova_only(self, live: LiveBarbican) -> None:
        """Who drains a host has guests of all projects moved: Nova asks with the administrator's token and its own."""
        url = live.store(MEMBER, "passphrase")
        through_nova = f"{ADMINISTRATOR}:service"
        assert live.read(url, through_nova) == "passphrase"
        assert [live.read(url, who) for who in (f"{STRANGER}:service", f"{READER}:service")] == [403, 403]

    def test_the_owner_lets_one_user_of_another_project_read(self, live: LiveBarbican) -> None:
        url = live.store(MEMBER, "shared")
        acl = {"read": {"users": ["carol"], "project-access": False}}
        assert live.ask("PUT", f"{url}/acl", MEMBER, acl).status_code == 200
        assert [live.read(url, who) for who in (MEMBER, STRANGER, COLLEAGUE)] == ["shared", "shared", 403]

    def test_a_validation_uses_it_as_two_members(self, live: LiveBarbican, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checks, "_member", lambda _region, name: Adapter(live, f"u:{name}:member"))
        region: Any = SimpleNamespace(name="scs-validate-1", cloud=Cloud("identity", "key-manager"))
        assert checks.secret(region).message.startswith("stored")
        # both in one project, as if policies forgot projects
        monkeypatch.setattr(checks, "_member", lambda *_: Adapter(live, "u:same:member"))
        with pytest.raises(CheckFailedError, match="HTTP 200, not 403"):
            checks.secret(region)
        assert "scs-validate-1" not in live.ask("GET", "/v1/secrets", "u:same:member").text
        monkeypatch.setattr(checks, "_member", lambda *_: Adapter(live, "u:same:reader"))
        with pytest.raises(CheckFailedError, match="a member cannot store a secret: HTTP 403"):
            checks.secret(region)

    def test_a_reference_names_the_address_that_the_user_asked(self, live: LiveBarbican) -> None:
        assert live.store(MEMBER, "x").startswith(f"{live.url}/v1/secrets/")

    def test_the_database_holds_no_payload(self, live: LiveBarbican) -> None:
        live.store(MEMBER, "a payload in plain text")
        assert "a payload in plain text" not in live.sql("SELECT * FROM encrypted_data")

    def test_an_administrator_limits_a_project(self, live: LiveBarbican) -> None:
        limits = {"project_quotas": {"secrets": 1}}
        assert live.ask("PUT", "/v1/project-quotas/small", MEMBER, limits).status_code == 403
        assert live.ask("PUT", "/v1/project-quotas/small", ADMINISTRATOR, limits).status_code == 204
        live.store("dave:small:member", "first")
        answer = live.ask("POST", "/v1/secrets", "dave:small:member", {"name": "second"})
        assert (answer.status_code, "quota" in answer.text.lower()) == (403, True)
        shown = live.ask("GET", "/v1/quotas", "frank:other:reader").json()["quotas"]
        assert shown["secrets"] == 1000

    def test_a_rotated_key_breaks_nothing_at_any_point(self, live: LiveBarbican) -> None:
        old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
        live.configure({"barbican_kek": old})
        live.sql("DELETE FROM encrypted_data; DELETE FROM kek_data")
        before = live.store(MEMBER, "before")
        live.configure({"barbican_kek": old, "barbican_kek_next": new})
        announced = live.store("dave:green:member", "announced")
        assert live.read(before, MEMBER) == "before"
        # a host that has not changed yet reads what one that has wrote
        live.configure({"barbican_kek": old})
        assert live.read(announced, "dave:green:member") == "announced"
        live.configure({"barbican_kek": new, "barbican_kek_previous": old})
        during = live.store("erin:yellow:member", "during")
        everything = [(before, MEMBER, "before"), (announced, "dave:green:member", "announced")]
        everything.append((during, "erin:yellow:member", "during"))
        assert [live.read(url, who) for url, who, _ in everything] == [payload for *_, payload in everything]
        assert "3 projects' keys are encrypted with the new key" in live.program("/etc/test/kek.py", "rewrap")
        live.configure({"barbican_kek": new})
        assert [live.read(url, who) for url, who, _ in everything] == [payload for *_, payload in everything]
        assert "3 projects' keys can be decrypted" in live.program("/etc/test/kek.py", "check")

    def test_a_key_that_is_missing_is_noticed(self, live: LiveBarbican) -> None:
        """E.g. after the restore of a database from before a rotation: nothing is changed, the cause is named."""
        first, second = Fernet.generate_key().decode(), Fernet.generate_key().decode()
        live.configure({"barbican_kek": first})
        live.sql("DELETE FROM encrypted_data; DELETE FROM kek_data")
        url = live.store(MEMBER, "older")
        live.configure({"barbican_kek": second})
        stored = live.sql("SELECT plugin_meta FROM kek_data")
        for command in ("check", "rewrap"):
            said = live.program("/etc/test/kek.py", command, code=1)
            assert "1 of 1 projects' keys cannot be decrypted with any known key" in said
            assert first not in said and second not in said
        assert live.sql("SELECT plugin_meta FROM kek_data") == stored
        live.configure({"barbican_kek": second, "barbican_kek_previous": first})
        live.program("/etc/test/kek.py", "rewrap")
        live.configure({"barbican_kek": second})
        assert live.read(url, MEMBER) == "older"

    def test_what_users_deleted_leaves_the_database(self, live: LiveBarbican) -> None:
        live.configure({})
        live.sql("DELETE FROM encrypted_data; DELETE FROM kek_data; DELETE FROM secret_store_metadata")
        live.sql("SET FOREIGN_KEY_CHECKS=0; DELETE FROM secrets; DELETE FROM orders")
        order = {"type": "key", "meta": {"name": "k", "algorithm": "aes", "bit_length": 256, "mode": "cbc"}}
        ordered = live.ask("POST", "/v1/orders", MEMBER, order).json()["order_ref"]
        made = live.ask("GET", ordered, MEMBER).json()
        assert made["status"] == "ACTIVE"
        kept = live.store(MEMBER, "kept")
        gone = live.store(MEMBER, "gone")
        live.store(MEMBER, "expired", expiration="2099-01-01T00:00:00")
        live.sql("UPDATE secrets SET expiration='2020-01-01' WHERE expiration IS NOT NULL")
        for url in (gone, made["secret_ref"]):
            assert live.ask("DELETE", url, MEMBER).status_code == 204
        assert rows(live, "secrets") == 4
        said = live.program("/etc/test/barbican_clean.py", "once")
        assert "1 expired secrets and 1 orders deleted" in said
        assert rows(live, "secrets") == 4, "deleted today"
        for table in ("secrets", "encrypted_data", "secret_store_metadata", "orders"):
            live.sql(f"UPDATE {table} SET deleted_at = deleted_at - INTERVAL 8 DAY WHERE deleted")
        live.program("/etc/test/barbican_clean.py", "once")
        assert (rows(live, "secrets"), rows(live, "encrypted_data"), rows(live, "orders")) == (1, 1, 0)
        assert live.read(kept, MEMBER) == "kept"


def test_stored_keys_that_no_key_decrypts_are_named() -> None:
    old, new, lost = (Fernet.generate_key().decode() for _ in range(3))
    stored = [(key[:4], Fernet(key).encrypt(b"project's")) for key in (old, new, lost)]
    assert kek.unreadable(stored, [new, old]) == [lost[:4]]
    assert kek.unreadable(stored, [new]) == [old[:4], lost[:4]]


@pytest.mark.parametrize("hosts", [1, 3])
def test_hosts_clean_at_different_times_and_late_ones_are_noticed(hosts: int) -> None:
    day = 86400
    each = [barbican_clean.Settings(rank=i, hosts=hosts, days=7, interval=day) for i in range(hosts)]
    firsts = [s.first() for s in each]
    assert firsts == sorted(set(firsts)) and max(firsts) < day
    assert all(b - a >= day / hosts for a, b in itertools.pairwise(firsts))
    assert not each[0].late(day * 1.1)
    assert each[0].late(3 * day)


def test_the_regions_key_is_where_it_decrypts_only(testbed: Region) -> None:
    key = testbed.secrets["barbican_kek"]
    files = [f for h in testbed.inventory.hosts for f in resolve.resolve(testbed, h).files.values() if key in f.content]
    assert {(f.container, f.name, f.mode) for f in files} == {
        ("barbican_api", "barbican.conf", "0640"), ("barbican_worker", "barbican.conf", "0640"),
    }  # fmt: skip
    bodies = str([r.body for r in resolve.resolve(testbed, "testbed-1").containers.values()])
    assert key not in bodies


def test_an_override_cannot_show_the_key() -> None:
    """`scs config show` hides it by its name, too: a previous one need not be in secrets.yml any more."""
    assert overrides.SECRET_KEY.search("kek")


def test_nova_and_cinder_read_keys_for_the_user_whose_volume_it_is(testbed: Region) -> None:
    host = resolve.resolve(testbed, "testbed-1")
    readers = ["nova_api", "nova_compute", "nova_conductor"]
    readers += [n for n in ("cinder_api", "cinder_volume", "cinder_backup") if n in host.containers]
    for container in readers:
        name = f"{container.split('_')[0]}.conf"
        text = next(f.content for f in host.files.values() if f.container == container and f.name == name)
        assert "[key_manager]\nbackend = barbican\n" in text
        assert "barbican_endpoint_type = internal" in text and "send_service_user_token = true" in text
