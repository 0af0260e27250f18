# SPDX-License-Identifier: Apache-2.0
"""Display builds and pushes: a live table on a terminal, otherwise a line per finished image, and one every 10 s."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from scs_deploy.base.heartbeat import Heartbeat
from scs_deploy.images.events import Event

STYLES = {"built": "green", "pushed": "green", "failed": "red", "running": "cyan"}


class Progress:
    """Pass the instance as `on_event`, inside its `with` block."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._rows: dict[str, list[Event]] = {}
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()
        self._heartbeat = Heartbeat(self._say)
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4)

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live.start()
        else:
            self._heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()
        else:
            self._heartbeat.stop()

    def __call__(self, event: Event) -> None:
        """Display an event. Thread-safe."""
        with self._lock:
            rows = self._rows.setdefault(event.image, [])
            rows[:] = [row for row in rows if row.state != "running"] + [event]
            self._since.setdefault(event.image, time.monotonic())
            if event.state == "running":
                self._since[event.image] = time.monotonic()
        if not self.console.is_terminal and event.state not in ("running", "present"):
            self._say(f"{event.image}: {event.state}{_seconds(event.seconds)}")
        self._heartbeat.doing(self._running())

    def _running(self) -> str:
        """`keystone: build, nova: packages`"""
        with self._lock:
            running = [event for events in self._rows.values() for event in events if event.state == "running"]
        return ", ".join(f"{event.image}: {event.step}" for event in running)

    def _say(self, line: str) -> None:
        self._heartbeat.spoke()
        self.console.print(line, markup=False)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        with self._lock:
            for image, events in self._rows.items():
                words = []
                for event in events:
                    style = STYLES.get(event.state, "dim")
                    if event.state == "running":
                        words.append(f"[{style}]{event.step} {time.monotonic() - self._since[image]:.0f} s[/]")
                    else:
                        words.append(f"[{style}]{event.state}[/]{_seconds(event.seconds)}")
                table.add_row(image, ", ".join(words))
        return table


def _seconds(seconds: float | None) -> str:
    return f" ({seconds:.0f} s)" if seconds and seconds >= 0.5 else ""
