# SPDX-License-Identifier: Apache-2.0
"""The log of a region, `state/scs.log`: what goes wrong without ending a run, e.g. a view that cannot show an event.

What a run does is in its record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scs_deploy.environment.environment import Environment

FILE = "scs.log"
"""In a region's state folder; made when there is something to say."""

LINE = logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s")


def log_file(environment: Environment) -> Path:
    """Where a region's log is."""
    return environment.state / FILE


class Log(logging.FileHandler):
    """What scs logs, in a file that its owner alone can read."""

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
        if not file.exists():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.touch(mode=0o600)
        super().emit(record)


@contextmanager
def logging_to(environment: Environment) -> Iterator[Log]:
    """Until the block ends, what scs logs is appended to the region's log."""
    logger, log = logging.getLogger("scs"), Log(log_file(environment))
    logger.addHandler(log)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        log.close()


def logging_to_terminal() -> None:
    """From here on, print on stderr what scs logs, the least details included."""
    handler = logging.StreamHandler()
    handler.setFormatter(LINE)
    logger = logging.getLogger("scs")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
