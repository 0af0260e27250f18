# SPDX-License-Identifier: Apache-2.0
"""A session with Glance's v2 API as the region's administrator: where images are, copies between stores.

Plain REST, as with Keystone. https://docs.openstack.org/api-ref/image/v2/, seen with Glance 30.0 (2025.1)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.shared.rest import Service

FILE, RBD = "file", "rbd"
"""Names of the stores, as in glance-api.conf."""

COPY = "copy-image"
"""The import method that copies an active image into another store."""

HAS_DATA = ("active", "deactivated")
"""States of an image whose data is complete in each of its stores."""

_COPIED = re.compile(r"Copied (\d+) MiB")


class Image(Model):
    """An image."""

    id: str
    name: str
    size: int = Field(description="bytes")
    status: str
    stores: tuple[str, ...] = Field(default=(), description="that have all of its data")
    importing: tuple[str, ...] = Field(default=(), description="stores that it is being copied to")
    algorithm: str = Field(default="md5", description="of `digest`")
    digest: str = Field(default="", description="of its data; empty: unknown")

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.name} ({self.id})" if self.name else self.id


def parse(image: Mapping[str, Any]) -> Image:
    """From an image of the API, in which stores are lists joined by commas."""
    strong = image.get("os_hash_algo") and image.get("os_hash_value")
    return Image(
        id=image["id"],
        name=image.get("name") or "",
        size=image.get("size") or 0,
        status=image["status"],
        stores=_list(image.get("stores")),
        importing=_list(image.get("os_glance_importing_to_stores")),
        algorithm=image["os_hash_algo"] if strong else "md5",
        digest=(image["os_hash_value"] if strong else image.get("checksum")) or "",
    )


def _list(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in (text or "").split(","))))


class Glance(Service):
    """Its URL is the one of the image API, without /v2."""

    NAME, CONTAINER = "glance", "glance"

    def stores(self) -> frozenset[str]:
        """Names of the stores that Glance has now.

        :raises ScsError: it does not answer
        """
        return frozenset(s["id"] for s in self._ask("GET", "/v2/info/stores")["stores"])

    def methods(self) -> frozenset[str]:
        """Import methods that it allows.

        :raises ScsError: it does not answer
        """
        return frozenset(self._ask("GET", "/v2/info/import")["import-methods"]["value"])

    def images(self) -> list[Image]:
        """All images of all projects.

        :raises ScsError: Glance does not answer
        """
        return [parse(i) for hidden in ("false", "true") for i in self._pages(hidden)]

    def _pages(self, hidden: str) -> Iterator[dict[str, Any]]:
        path = f"/v2/images?limit=500&visibility=all&os_hidden={hidden}"
        while path:
            page = self._ask("GET", path)
            yield from page["images"]
            path = page.get("next", "")

    def image(self, key: str) -> Image | None:
        """An image; None: it is gone.

        :raises ScsError: Glance does not answer
        """
        path = f"/v2/images/{key}"
        answer = self._send("GET", path)
        return None if answer.status_code == 404 else parse(self._checked("GET", path, answer))

    def copy(self, key: str, store: str) -> None:
        """Begin to copy an active image into another store. It stays active, and is read where it was.

        :raises ScsError: Glance refuses, e.g. because another import of the image has not ended
        """
        body = {"method": {"name": COPY}, "stores": [store], "all_stores_must_succeed": True}
        self._ask("POST", f"/v2/images/{key}/import", body)

    def task(self, key: str) -> tuple[int, str]:
        """Of the latest import of an image: bytes that were copied, and what it says if it failed.

        :raises ScsError: Glance does not answer
        """
        tasks = self._ask("GET", f"/v2/images/{key}/tasks")["tasks"]
        if not tasks:
            return 0, ""
        latest = max(tasks, key=lambda t: str(t.get("created_at")))
        message = str(latest.get("message") or "")
        copied = _COPIED.search(message)
        return int(copied[1]) << 20 if copied else 0, message if latest.get("status") == "failure" else ""

    def drop(self, key: str, store: str) -> None:
        """Remove an image's data from a store; another one must have it.

        :raises ScsError: Glance refuses
        """
        path = f"/v2/stores/{store}/{key}"
        answer = self._send("DELETE", path)
        if answer.status_code != 404:
            self._checked("DELETE", path, answer)

    def _reason(self, answer: Any) -> str:
        """Glance's errors are pages of HTML, with the reason after a line break."""
        if "html" not in answer.headers.get("Content-Type", ""):
            return super()._reason(answer)
        text = re.sub(r"<head>.*?</head>|<h1>.*?</h1>|<[^>]+>", " ", answer.text, flags=re.DOTALL)
        return f"{answer.status_code} {' '.join(text.split())}"
