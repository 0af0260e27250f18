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
    "volumes": "volume",
    "snapshots": "snapshot",
    "backups": "backup",
    "users": "user",
    "projects": "project",
    "secrets": "",
}
SERVICES = {
    "identity": "/v3", "compute": "/v2.1", "network": "", "image": "", "placement": "", "key-manager": "",
}  # fmt: skip
VERSIONS = {
    "identity": "v3", "compute": "v2.1", "network": "v2.0", "image": "v2", "placement": "", "block-storage": "v3",
    "key-manager": "v1",
}  # fmt: skip
VOLUME_SERVICES = ("cinder-scheduler", "cinder-volume", "cinder-backup")


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
            "roles": {"m": {"id": "m", "name": "member"}},
            "resource_providers": {"h": {"uuid": "h", "name": "h"}},
        }
        self.broken: set[str] = set()
        self.asked: list[str] = []
        """paths of requests, with their queries"""
        self.guest_id = ""
        self.services = dict(SERVICES)
        self.disks: dict[str, str] = {}
        """volume: what is on it; one that is a copy has what its origin had"""
        self.clones = True
        """volumes of images are clones of them"""
        self.keeps = True
        """a restored volume holds the data"""
        self.types: dict[str, dict[str, Any]] = {}
        """types of volumes; `encrypted`: they are"""
        self.forgets = False
        """a guest that is restarted finds nothing on its volumes"""
        self.direct_url = ""
        self.said: dict[str, list[str]] = {}
        """server: what it says of its disks"""
        self.boots: dict[str, int] = {}
        """server: how often it was restarted"""
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
        found = {
            kind: [str(t.get("name") or t["id"]) for t in self.kind(kind).values() if t["id"] != "p"]
            for kind in SINGULAR
        }
        return {kind: names for kind, names in found.items() if names}

    def create(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        body = {"id": str(uuid.uuid4()), "status": "ACTIVE", **body}
        if kind == "networks":
            body["mtu"] = 1442
        if kind == "routers":
            body["external_gateway_info"]["external_fixed_ips"] = [{"ip_address": "172.30.1.130"}]
        if kind == "images":
            body |= {"status": "queued", **({"direct_url": self.direct_url} if self.direct_url else {})}
        if kind == "servers":
            body["OS-EXT-SRV-ATTR:hypervisor_hostname"] = body["OS-EXT-SRV-ATTR:host"] = "h"
            self.guest_id = body["id"]
            self.create("ports", {"device_id": body["id"], "fixed_ips": [{"ip_address": "192.168.240.5"}]})
        if kind in ("volumes", "snapshots", "backups"):
            self.store(kind, body)
        if kind == "floatingips":
            body["floating_ip_address"] = "127.0.0.1"
        self.kind(kind)[body["id"]] = body
        return body

    def with_volumes(self) -> None:
        """The region has Ceph."""
        self.services["block-storage"] = "/v3"
        self.things["os-services"] |= {
            n: {"id": n, "binary": n, "host": "h@rbd", "status": "enabled", "state": "up"} for n in VOLUME_SERVICES
        }

    def store(self, kind: str, body: dict[str, Any]) -> None:
        body["status"] = "available"
        origin = str(body.get("volume_id") or body.get("snapshot_id") or "")
        self.disks[body["id"]] = self.disks.get(origin, "")
        if kind == "volumes":
            body["volume_type"] = body.get("volume_type") or "__DEFAULT__"
            body["encrypted"] = bool(self.types.get(body["volume_type"], {}).get("encrypted"))
            body["attachments"] = []
        else:
            body["size"] = self.kind("volumes")[origin]["size"]
        if kind == "backups":
            body["is_incremental"] = body["incremental"]

    def attach(self, volume: str, server: str) -> None:
        """The guest looks at a disk, and writes its word if there is none."""
        word = self.kind("servers")[server]["name"].removesuffix("-volume")
        found = self.disks[volume]
        self.disks[volume] = found or word
        self.say(server, volume, found, "" if found else word)
        self.kind("volumes")[volume]["attachments"].append({"server_id": server})
        self.kind("volumes")[volume]["status"] = "in-use"

    def detach(self, volume: str, server: str) -> None:
        attachments = self.kind("volumes")[volume]["attachments"]
        attachments.remove({"server_id": server})
        self.kind("volumes")[volume]["status"] = "in-use" if attachments else "available"

    def extend(self, volume: str, size: int) -> None:
        self.kind("volumes")[volume]["size"] = size
        for attachment in self.kind("volumes")[volume]["attachments"]:
            self.say(attachment["server_id"], volume, self.disks[volume], "")

    def restart(self, server: str) -> None:
        """The guest starts with an empty console, and looks at its disks."""
        self.boots[server] = self.boots.get(server, 0) + 1
        self.said[server] = []
        for volume in self.kind("volumes").values():
            if {"server_id": server} in volume["attachments"]:
                self.say(server, volume["id"], "" if self.forgets else self.disks[volume["id"]], "")

    def say(self, server: str, volume: str, found: str, wrote: str) -> None:
        sectors = self.kind("volumes")[volume]["size"] << 21
        line = f"scs-guest: disk-{volume[:20]} sectors={sectors} found={found} last={found} wrote={wrote}\r\n"
        self.said.setdefault(server, []).append(line)

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

    def console(self, server: str = "") -> str:
        ready = 3 + self.boots.get(server, 0)
        return (
            "SYSLINUX\r\nscs-guest: boot kernel=6 uptime=1\r\n"
            "scs-guest: lease ip=192.168.240.5 mask=24 mtu=1442 server=192.168.240.1\r\n"
            f"scs-guest: metadata uuid={self.guest_id} hostname=x uptime=3.1\r\n"
            f"scs-guest: dns servers={self.resolvers} name=x address=192.168.240.5\r\n"
            f"scs-guest: ready uptime={ready}.2\r\n" + "".join(self.said.get(server, []))
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
        self.cloud.asked.append(self.path)
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
            user = json.loads(data)["auth"]["identity"]["password"]["user"]
            self.token(user.get("id", "t"))
        elif service == "key-manager":
            self.secret(words[1:], json.loads(data) if data else {})
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
        if service == "block-storage":
            document |= {"version": "3.71", "min_version": "3.0"}
        if service == "placement":
            document |= {"max_version": "1.39", "min_version": "1.0"}
        if self.path.rstrip("/").endswith(version) and version:
            self.answer(200, {"version": document})
        else:
            self.answer(200, {"versions": [document]})

    def secret(self, rest: list[str], body: dict[str, Any]) -> None:
        """Each user's own; a user is what its token says."""
        who, secrets = self.headers["X-Auth-Token"], self.cloud.kind("secrets")
        if not rest and self.command == "POST":
            made = self.cloud.create("secrets", {**body, "user": who})
            self.answer(201, {"secret_ref": f"{self.cloud.url}/key-manager/v1/secrets/{made['id']}"})
        elif not rest:
            self.answer(200, {"secrets": [s for s in secrets.values() if s["user"] == who]})
        elif rest[0] not in secrets:
            self.answer(404, {})
        elif secrets[rest[0]]["user"] != who:
            self.answer(403, {})
        elif self.command == "DELETE":
            self.answer(self.cloud.delete("secrets", rest[0]))
        elif rest[1:] == ["payload"]:
            content = secrets[rest[0]]["payload"].encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        else:
            self.answer(200, {"name": secrets[rest[0]]["name"]})

    def token(self, identity: str) -> None:
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
            for service, path in self.cloud.services.items()
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
        self.answer(201, {"token": token}, X_Subject_Token=identity)

    def collection(self, kind: str, rest: list[str], query: dict[str, str], body: dict[str, Any]) -> None:
        cloud, singular = self.cloud, SINGULAR.get(kind, kind)
        plural = kind.replace("-", "_").removeprefix("os_")
        things = cloud.kind(kind)
        if kind == "types":
            self.types(rest)
            return
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
        elif action[:1] == ["os-volume_attachments"]:
            self.attachment(key, action[1:], body)
        elif self.command == "DELETE":
            self.answer(cloud.delete(kind, key))
        elif self.command == "PUT" and action[-2:-1] == ["roles"]:
            self.answer(204)
        elif action == ["tags"]:
            things[key]["tags"] = body["tags"]
            self.answer(200, body)
        elif action == ["add_router_interface"]:
            port = {"device_id": key, "device_owner": "network:router_interface", "fixed_ips": [body]}
            self.answer(200, {"port_id": cloud.create("ports", port)["id"]})
        elif action == ["remove_router_interface"]:
            del cloud.kind("ports")[body["port_id"]]
            self.answer(200, {})
        elif action == ["restore"]:
            cloud.disks[body["restore"]["volume_id"]] = cloud.disks[key] if cloud.keeps else ""
            self.answer(202, {"restore": {"backup_id": key, **body["restore"]}})
        elif action == ["action"] and "os-extend" in body:
            cloud.extend(key, body["os-extend"]["new_size"])
            self.answer(202)
        elif action == ["action"] and "reboot" in body:
            cloud.restart(key)
            self.answer(202)
        elif action == ["action"]:
            self.answer(200, {"output": cloud.console(key)})
        elif action == ["remote-consoles"]:
            url = f"{cloud.url}/vnc_auto.html?path=%3Ftoken%3Dt"
            self.answer(200, {"remote_console": {"type": "novnc", "protocol": "vnc", "url": url}})
        else:
            self.answer(200, {singular: things[key]} if singular else things[key])

    def types(self, rest: list[str]) -> None:
        """Types of volumes; their names are their ids."""
        if rest[1:] == ["encryption"]:
            self.answer(200, {"provider": "luks"} if self.cloud.types[rest[0]].get("encrypted") else {})
        else:
            found = [
                {"id": n, "name": n, "os-volume-type-access:is_public": True, "extra_specs": t.get("extra_specs", {})}
                for n, t in self.cloud.types.items()
            ]
            self.answer(200, {"volume_types": found})

    def attachment(self, server: str, words: list[str], body: dict[str, Any]) -> None:
        if self.command == "POST":
            volume = body["volumeAttachment"]["volumeId"]
            self.cloud.attach(volume, server)
            self.answer(200, {"volumeAttachment": {"id": volume, "volumeId": volume}})
        elif self.command == "GET":
            self.answer(200, {"volumeAttachments": []})
        else:
            self.cloud.detach(words[0], server)
            self.answer(202)


def matches(thing: dict[str, Any], query: dict[str, str]) -> bool:
    """Whether a thing has the values that a query asks for; other parameters mean nothing here."""
    return all(str(thing.get(k, v)).lower() == v.lower() for k, v in query.items() if k != "router:external") and (
        "router:external" not in query or bool(thing.get("router:external"))
    )
