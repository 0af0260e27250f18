# SPDX-License-Identifier: Apache-2.0
"""Shows the progress of an operation on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from scs_deploy.base.heartbeat import Heartbeat
from scs_deploy.cli import _lockdiff as lockdiff
from scs_deploy.cli import _measured as measured
from scs_deploy.cli._options import console
from scs_deploy.engine.events import (
    Checked,
    Event,
    Expected,
    ImagesBuilt,
    ImageStep,
    Note,
    ProbeNote,
    ProbeResult,
    Stage,
    TaskDone,
    TaskFailed,
    TaskStarted,
)

VERDICTS = {"passed": "green", "failed": "red", "skipped": "yellow", "n/a": "dim"}


class RunProgress:
    """Shows the events of any operation: a bar with the current task, and a line for each finished task.

    Without a terminal it prints the lines only, and what it is doing if there was no line for ten seconds.

    :param to: stderr if a script reads stdout
    """

    def __init__(self, to: Console = console) -> None:
        self._total = 0
        self._heartbeat = None if to.is_terminal else Heartbeat(lambda text: self._line("dim", "working", text))
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=to,
            transient=True,
            disable=not to.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)
        self._doing("planning")

    def __enter__(self) -> RunProgress:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        self._bar.start()
        if self._heartbeat:
            self._heartbeat.start()

    def _stop(self) -> None:
        if self._heartbeat:
            self._heartbeat.stop()
        self._bar.stop()

    def _doing(self, what: str, group: str = "") -> None:
        """What is being done, and on which hosts."""
        where = f"[bold]{escape(group)}[/] " if group else ""
        self._bar.update(self._task, description=where + escape(what[:80]))
        if self._heartbeat:
            self._heartbeat.doing(f"{group}: {what}" if group else what)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """`with progress.paused():` - hides the bar, so that a table or a question can be printed."""
        self._stop()
        try:
            yield
        finally:
            self._start()

    def expect(self, more: int) -> None:
        """Add steps to the total."""
        self._total += more
        self._bar.update(self._task, total=self._total)

    def advance(self, by: int = 1) -> None:
        """Count steps as done without a line for each."""
        self._bar.advance(self._task, by)

    def __call__(self, event: Event) -> None:
        """Show an event (see scs_deploy.engine.events.Watch). Text from hosts is never interpreted as markup."""
        match event:
            case Stage(title):
                self._doing(title)
            case Expected(more):
                self.expect(more)
            case TaskStarted(title, group):
                self._doing(title, group)
            case TaskDone(title, host, changes, said):
                self.advance(changes)
                self._line("green", "done", ": ".join(filter(None, (host, title, said))))
            case TaskFailed(title, host, message):
                self._line("red", "failed", ": ".join(filter(None, (host, title, message))))
            case Note(text, host):
                self._line("", "", f"{host}: {text}" if host else text)
            case ProbeNote(text):
                self._line("", "", f"prober: {text}")
            case ProbeResult(summaries):
                measured.show_measured(summaries, self._bar.console)
            case ImageStep():
                self._image(event)
            case ImagesBuilt(changes=images):
                lockdiff.show(images, self._bar.console)
            case Checked(check, verdict, seconds, message):
                self._line(VERDICTS[verdict], verdict, f"{check:<16} {seconds:>6.1f} s  {message}".rstrip())

    def _image(self, event: ImageStep) -> None:
        """Show a build step while it runs. An image that was already present gets no line."""
        if event.state == "running":
            self._doing(f"{event.image}: {event.step}")
        elif event.state != "present":
            took = f" ({event.seconds:.0f} s)" if event.seconds and event.seconds >= 0.5 else ""
            self._line("green", event.state, f"{event.image}{took}")

    def _line(self, style: str, word: str, text: str) -> None:
        if self._heartbeat:
            self._heartbeat.spoke()
        self._bar.console.print(Text.assemble("  ", (f"{word:<8}", style), text))
