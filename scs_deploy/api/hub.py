# SPDX-License-Identifier: Apache-2.0
"""Tells open pages that something changed, as server-sent events. https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

BEAT = 15.0
"""Seconds without an event after which a comment keeps the connection, and finds those that are gone."""

GATHER = 0.5
"""Seconds in which several changes become one event."""

MOST = 100
"""Open streams."""


class Hub:
    """The streams of all open pages. `tell` may be called from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: set[asyncio.Queue[str]] = set()
        self._closed = False

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver events in this loop."""
        self._loop = loop

    def tell(self, what: str) -> None:
        """Something of this name changed."""
        if self._loop and not self._closed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, what)

    def close(self) -> None:
        """End all streams."""
        if self._loop and not self._closed and not self._loop.is_closed():
            self._closed = True
            self._loop.call_soon_threadsafe(self._put, "")

    @property
    def full(self) -> bool:
        """Whether no further stream fits."""
        return len(self._open) >= MOST

    def _put(self, what: str) -> None:
        for queue in self._open:
            queue.put_nowait(what)

    async def stream(self, allowed: Callable[[], bool]) -> AsyncIterator[str]:
        """Events for one page, until the hub closes or the page may no longer see them.

        :param allowed: whether its session is still open
        """
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._open.add(queue)
        try:
            yield "retry: 3000\n\n"
            while allowed() and not self._closed:
                try:
                    names = {await asyncio.wait_for(queue.get(), BEAT)}
                except TimeoutError:
                    yield ": \n\n"
                    continue
                if not self._closed:
                    await asyncio.sleep(GATHER)
                while not queue.empty():
                    names.add(queue.get_nowait())
                if "" in names:
                    return
                yield f"event: changed\ndata: {json.dumps(sorted(names))}\n\n"
        finally:
            self._open.discard(queue)
