# SPDX-License-Identifier: Apache-2.0
"""The log of a region, `state/scs.log`: errors that do not end a run, e.g. a view that cannot show an event.

The run record has what a run does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment

FILE = "scs.log"
"""In a region's state folder; created with its first line."""

LINE = logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s")


def log_file(environment: Environment) -> Path:
    """The path of a region's log."""
    return environment.state / FILE


class Log(logging.FileHandler):
    """The log, in a file that only its owner can read."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, delay=True, encoding="utf-8")
        self.setFormatter(LINE)
        self.mask: Callable[[str], str] = str
        """hides secrets in a text"""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Handler."""
        return self.mask(super().format(record))

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        file = Path(self.baseFilename)
        try:
            if not file.exists():
                sharing.make_folder(file.parent)
                file.touch(mode=0o600)
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A log that cannot be written must not disturb what it reports on; logging would print a traceback."""


@contextmanager
def logging_to(environment: Environment) -> Iterator[Log]:
    """Append what scs logs to the region's log until the block ends."""
    _set_aside(log_file(environment), environment.settings.keep.log_mib << 20)
    logger, log = logging.getLogger("scs"), Log(log_file(environment))
    logger.addHandler(log)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        log.close()


def _set_aside(file: Path, limit: int) -> None:
    """Begin a new log, and keep the one before as scs.log.1."""
    with suppress(OSError):
        if file.stat().st_size > limit:
            file.replace(file.with_name(f"{FILE}.1"))


def logging_to_terminal() -> None:
    """From now on, print everything that scs logs on stderr, including debug messages."""
    handler = logging.StreamHandler()
    handler.setFormatter(LINE)
    logger = logging.getLogger("scs")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
