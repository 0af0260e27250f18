# SPDX-License-Identifier: Apache-2.0
"""As much of OpenStack's APIs, over TLS on one port, as `scs validate` uses: things in a dictionary."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SINGULAR = {
    "networks": "network",
    "subnets": "subnet",
    "routers": "router",
    "ports": "port",
    "security-groups": "security_group",
    "security-group-rules": "security_group_rule",
    "floatingips": "floatingip",
    "servers": "server",
    "flavors": "flavor",
    "images": "",
}
SERVICES = {"identity": "/v3", "compute": "/v2.1", "network": "", "image": "", "placement": ""}
VERSIONS = {"identity": "v3", "compute": "v2.1", "network": "v2.0", "image": "v2", "placement": ""}


class FakeOpenStack:
    """The state, and the server that gives access to it."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.things: dict[str, dict[str, dict[str, Any]]] = {
            "os-services": {
                n: {"id": n, "binary": n, "host": "h", "status": "enabled", "state": "up"}
                for n in ("nova-compute", "nova-scheduler")
            },
            "os-hypervisors": {"h": {"id": "h", "hypervisor_hostname": "h", "state": "up"}},
            "agents": {"a": {"id": "a", "agent_type": "OVN Controller agent", "host": "h", "alive": True}},
            "projects": {"p": {"id": "p", "name": "admin"}},
            "resource_providers": {"h": {"uuid": "h", "name": "h"}},
        }
        self.broken: set[str] = set()
        self.guest_id = ""
        self.resolvers = "192.0.2.53"
        server = self

        class Bound(Handler):
            cloud = server

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.http.server_port}"
        Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def kind(self, name: str) -> dict[str, dict[str, Any]]:
        return self.things.setdefault(name, {})

    def made(self) -> dict[str, list[str]]:
        """Names of what exists and can be made, by kind."""
        found = {kind: [str(t.get("name") or t["id"]) for t in self.kind(kind).values()] for kind in SINGULAR}
        return {kind: names for kind, names in found.items() if names}

    def create(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        body = {"id": str(uuid.uuid4()), "status": "ACTIVE", **body}
        if kind == "networks":
            body["mtu"] = 1442
        if kind == "routers":
            body["external_gateway_info"]["external_fixed_ips"] = [{"ip_address": "172.30.1.130"}]
        if kind == "images":
            body["status"] = "queued"
        if kind == "servers":
            body["OS-EXT-SRV-ATTR:hypervisor_hostname"] = body["OS-EXT-SRV-ATTR:host"] = "h"
            self.guest_id = body["id"]
            self.create("ports", {"device_id": body["id"], "fixed_ips": [{"ip_address": "192.168.240.5"}]})
        if kind == "floatingips":
            body["floating_ip_address"] = "127.0.0.1"
        self.kind(kind)[body["id"]] = body
        return body

    def delete(self, kind: str, key: str) -> int:
        if kind == "networks" and any(
            r["external_gateway_info"]["network_id"] == key for r in self.kind("routers").values()
        ):
            return 409
        if kind == "networks":
            for subnet in [s for s in self.kind("subnets").values() if s["network_id"] == key]:
                del self.kind("subnets")[subnet["id"]]
        if kind in ("routers", "servers"):
            ports = [p for p in self.kind("ports").values() if p["device_id"] == key]
            if kind == "routers" and ports:
                return 409
            for port in ports:
                del self.kind("ports")[port["id"]]
        if kind == "security-groups":
            for rule in [r for r in self.kind("security-group-rules").values() if r["security_group_id"] == key]:
                del self.kind("security-group-rules")[rule["id"]]
        del self.kind(kind)[key]
        return 204

    def console(self) -> str:
        return (
            "SYSLINUX\r\nscs-guest: boot kernel=6 uptime=1\r\n"
            "scs-guest: lease ip=192.168.240.5 mask=24 mtu=1442 server=192.168.240.1\r\n"
            f"scs-guest: metadata uuid={self.guest_id} hostname=x uptime=3.1\r\n"
            f"scs-guest: dns servers={self.resolvers} name=x address=192.168.240.5\r\nscs-guest: ready uptime=3.2\r\n"
        )


class Handler(BaseHTTPRequestHandler):
    """HTTP to dictionary."""

    cloud: FakeOpenStack
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        pass

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = self.chunks()
        words = [w for w in parts.path.split("/") if w]
        if not words:
            if self.headers.get("Upgrade"):
                self.websocket(parts.query)
            else:
                self.answer(200, {})
        elif words[0] == "vnc_auto.html":
            self.answer(200, {})
        else:
            self.service(words[0], words[1:], dict(parse_qsl(parts.query)), data)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any  # noqa: N815

    def chunks(self) -> bytes:
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def websocket(self, query: str) -> None:
        if query != "token=t":
            self.answer(403)
            return
        key = (self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
        self.send_response(101)
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"\x82\x0cRFB 003.008\n")
        self.close_connection = True

    def service(self, service: str, words: list[str], query: dict[str, str], data: bytes) -> None:
        version = VERSIONS[service]
        if words[:1] == [version]:
            words = words[1:]
        if not words:
            self.versions(service, version)
        elif words == ["auth", "tokens"]:
            self.token()
        else:
            kind, *rest = words
            if kind in self.cloud.broken:
                self.answer(500, {"error": {"message": "broken"}})
            elif service == "image" and rest[1:] == ["file"]:
                image = self.cloud.kind("images")[rest[0]]
                digest = hashlib.sha512(data).hexdigest()
                image.update(status="active", os_hash_algo="sha512", os_hash_value=digest, size=len(data))
                self.answer(204)
            else:
                self.collection(kind, rest, query, json.loads(data) if data else {})

    def versions(self, service: str, version: str) -> None:
        link = [{"rel": "self", "href": f"{self.cloud.url}/{service}/{version}"}]
        document = {"id": version or "v1.0", "status": "CURRENT", "links": link}
        if service == "compute":
            document |= {"version": "2.96", "min_version": "2.1"}
        if service == "placement":
            document |= {"max_version": "1.39", "min_version": "1.0"}
        if self.path.rstrip("/").endswith(version) and version:
            self.answer(200, {"version": document})
        else:
            self.answer(200, {"versions": [document]})

    def token(self) -> None:
        catalog = [
            {
                "type": service,
                "name": service,
                "id": service,
                "endpoints": [
                    {
                        "interface": i,
                        "region_id": "R",
                        "region": "R",
                        "id": i,
                        "url": f"{self.cloud.url}/{service}{path}",
                    }
                    for i in ("public", "internal")
                ],
            }
            for service, path in SERVICES.items()
        ]
        domain = {"id": "default", "name": "Default"}
        token = {
            "methods": ["password"],
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "user": {"id": "u", "name": "admin", "domain": domain},
            "project": {"id": "p", "name": "admin", "domain": domain},
            "roles": [{"id": "r", "name": "admin"}],
            "catalog": catalog,
        }
        self.answer(201, {"token": token}, X_Subject_Token="t")

    def collection(self, kind: str, rest: list[str], query: dict[str, str], body: dict[str, Any]) -> None:
        cloud, singular = self.cloud, SINGULAR.get(kind, kind)
        plural = kind.replace("-", "_").removeprefix("os_")
        things = cloud.kind(kind)
        if rest in ([], ["detail"]):
            if self.command == "POST":
                made = cloud.create(kind, body[singular] if singular else body)
                self.answer(201, {singular: made} if singular else made)
            else:
                found = [t for t in things.values() if "marker" not in query and matches(t, query)]
                self.answer(200, {plural: found})
            return
        key, action = rest[0], rest[1:]
        if key not in things:
            self.answer(404, {"NeutronError": {"message": "not found"}})
        elif self.command == "DELETE":
            self.answer(cloud.delete(kind, key))
        elif action == ["tags"]:
            things[key]["tags"] = body["tags"]
            self.answer(200, body)
        elif action == ["add_router_interface"]:
            port = {"device_id": key, "device_owner": "network:router_interface", "fixed_ips": [body]}
            self.answer(200, {"port_id": cloud.create("ports", port)["id"]})
        elif action == ["remove_router_interface"]:
            del cloud.kind("ports")[body["port_id"]]
            self.answer(200, {})
        elif action == ["action"]:
            self.answer(200, {"output": cloud.console()})
        elif action == ["remote-consoles"]:
            url = f"{cloud.url}/vnc_auto.html?path=%3Ftoken%3Dt"
            self.answer(200, {"remote_console": {"type": "novnc", "protocol": "vnc", "url": url}})
        else:
            self.answer(200, {singular: things[key]} if singular else things[key])


def matches(thing: dict[str, Any], query: dict[str, str]) -> bool:
    """Whether a thing has the values that a query asks for; other parameters mean nothing here."""
    return all(str(thing.get(k, v)).lower() == v.lower() for k, v in query.items() if k != "router:external") and (
        "router:external" not in query or bool(thing.get("router:external"))
    )
