# SPDX-License-Identifier: Apache-2.0
"""A session with the API of an OpenStack service as the region's administrator. Plain REST, as with Keystone."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from scs_deploy.base.errors import ScsError
from scs_deploy.shared.keystone import Keystone, reason_of


class Service:
    """A session, as a context manager.

    :param keystone: a session that gives a token; entered and left with this one
    :param url: to which the paths of requests are added
    """

    NAME = ""
    """of the service, as errors call it"""
    CONTAINER = ""
    """whose log has more about an error"""

    def __init__(self, keystone: Keystone, url: str) -> None:
        self._keystone = keystone
        self._url = url.rstrip("/")

    def __enter__(self) -> Self:
        self._keystone.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keystone.__exit__(kind, error, trace)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._checked(method, path, self._send(method, path, body))

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._keystone.send(method, self._url + path, body)

    def _checked(self, method: str, path: str, answer: Any) -> Any:
        if answer.status_code >= 400:
            what = path.partition("?")[0]
            raise ScsError(
                f"{self.NAME} at {self._url}: {method} {what}: {self._reason(answer)}", f"scs logs {self.CONTAINER}"
            )
        return answer.json() if answer.content else {}

    def _reason(self, answer: Any) -> str:
        """What an error says."""
        return reason_of(answer)
