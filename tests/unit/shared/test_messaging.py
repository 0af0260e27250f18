# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ: (desired, observed) -> changes."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import ScsError
from scs_deploy.plan.change import REGION
from scs_deploy.secrets.credentials import Login
from scs_deploy.shared.messaging import Desired, Messaging, Observed, diff, hashed, matches
from scs_deploy.spec.job import Phase

LOGIN = Login(user="scs", password="secret")
DESIRED = Desired(users={"nova": "nova-password"})
VHOST = {"name": "nova", "metadata": {"default_queue_type": "quorum"}, "limits": []}
USER = {
    "name": "nova",
    "password_hash": hashed("nova-password"),
    "hashing_algorithm": "rabbit_password_hashing_sha256",
    "tags": [],
}
PERMISSION = {"user": "nova", "vhost": "nova", "configure": ".*", "write": ".*", "read": ".*"}
OTHERS: dict[str, list[dict[str, Any]]] = {
    "vhosts": [{"name": "/"}, {"name": "heat"}],
    "users": [{**USER, "name": "scs", "tags": ["administrator"]}],
    "permissions": [{**PERMISSION, "user": "scs", "vhost": "/"}],
}


def seen(vhost: Any = VHOST, user: Any = USER, *permissions: Any) -> Observed:
    return Observed.parse(
        {
            "vhosts": [*OTHERS["vhosts"], *([vhost] if vhost else [])],
            "users": [*OTHERS["users"], *([user] if user else [])],
            "permissions": [*OTHERS["permissions"], *(permissions or (PERMISSION,))],
        }
    )


CASES = {
    "as wanted": (seen(), []),
    "no broker yet": (
        None,
        [
            ("vhost nova", "not created yet", "none"),
            ("user nova", "not created yet", "none"),
            ("permissions nova", "not created yet", "none"),
        ],
    ),
    "empty broker": (
        Observed.parse(OTHERS),
        [
            ("vhost nova", "missing", "none"),
            ("user nova", "missing", "none"),
            ("permissions nova", "missing on vhost nova", "none"),
        ],
    ),
    "queue type of an older broker's answer": (seen({"name": "nova", "default_queue_type": "quorum"}), []),
    "another queue type": (
        seen({"name": "nova", "metadata": {"default_queue_type": "classic"}}),
        [("vhost nova", "default queue type classic -> quorum", "none")],
    ),
    "no queue type": (
        seen({"name": "nova", "default_queue_type": "undefined"}),
        [("vhost nova", "default queue type unset -> quorum", "none")],
    ),
    "another password": (
        seen(VHOST, {**USER, "password_hash": hashed("old")}),
        [("user nova", "password differs", "api")],
    ),
    "no password": (seen(VHOST, {**USER, "password_hash": ""}), [("user nova", "password differs", "api")]),
    "an administrator": (
        seen(VHOST, {**USER, "tags": "administrator"}),
        [("user nova", "tags administrator -> none", "api")],
    ),
    "fewer permissions": (
        seen(VHOST, USER, {**PERMISSION, "write": "^nova"}),
        [("permissions nova", "on vhost nova: .* ^nova .* -> .* .* .*", "none")],
    ),
    "permissions elsewhere": (
        seen(VHOST, USER, PERMISSION, {**PERMISSION, "vhost": "/"}),
        [("permissions nova", "unwanted on vhost /", "none")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_diff(case: str) -> None:
    observed, expected = CASES[case]
    changes = diff(DESIRED, observed)
    assert [(c.subject, c.reason, c.impact.value) for c in changes] == expected
    assert all((c.service, c.host, c.phase) == ("nova", REGION, Phase.DATABASE) for c in changes)


def test_the_password_hash_is_that_of_the_broker() -> None:
    # the example of https://www.rabbitmq.com/docs/passwords
    assert matches("test12", "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR")
    assert not matches("test13", "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR")
    assert hashed("x") != hashed("x")
    assert matches("x", hashed("x"))


TURN = Desired(
    users={"nova_b": "new", "nova": "nova-password"},
    services={"nova_b": "nova", "nova": "nova"},
    administrators={"scs": "secret"},
)
OVER = Desired(
    users={"nova_b": "new"}, services={"nova_b": "nova"}, administrators={"scs": "secret"}, retired={"nova": "nova"}
)
SECOND = {**USER, "name": "nova_b", "password_hash": hashed("new")}


def both(password: str = "secret", tags: str = "administrator") -> Observed:
    scs = {**USER, "name": "scs", "password_hash": hashed(password), "tags": tags}
    return Observed.parse(
        {
            "vhosts": [VHOST],
            "users": [USER, SECOND, scs],
            "permissions": [PERMISSION, {**PERMISSION, "user": "nova_b"}],
        }
    )


@pytest.mark.parametrize(
    ("desired", "observed", "expected"),
    [
        (TURN, None, ["vhost nova", "user nova_b", "permissions nova_b", "user nova", "permissions nova"]),
        (TURN, both(), []),
        (TURN, both(password="other"), ["user scs"]),
        (TURN, both(tags="management"), ["user scs"]),
        (OVER, both(), ["user nova"]),
        # a broker that never heard of the rotation
        (OVER, None, ["vhost nova", "user nova_b", "permissions nova_b"]),
    ],
)
def test_two_users_share_a_vhost_during_a_rotation(
    desired: Desired, observed: Observed | None, expected: list[str]
) -> None:
    assert [c.subject for c in diff(desired, observed)] == expected


def test_passwords_are_hidden() -> None:
    assert "nova-password" not in repr(DESIRED)


def test_the_next_broker_is_used_if_the_first_is_down(tmp_path: Path) -> None:
    certificate, key = tmp_path / "broker.crt", tmp_path / "broker.key"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=broker"
    where = ["-addext", "subjectAltName=IP:127.0.0.2", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*make.split(), *where], check=True, capture_output=True)

    class Broker(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'[{"name": "rabbit@b", "running": true}]'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.2", 0), Broker) as server:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate, key)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        # nothing listens on the first address
        with Messaging(["127.0.0.3", "127.0.0.2"], [LOGIN], certificate, port=port) as session:
            assert session.nodes() == {"rabbit@b": True}
        with (
            Messaging(["127.0.0.3", "127.0.0.4"], [LOGIN], certificate, port=port) as session,
            pytest.raises(ScsError, match=r"127\.0\.0\.3"),
        ):
            session.nodes()
        server.shutdown()
