# SPDX-License-Identifier: Apache-2.0
"""The one error that a user sees: what, where, what to do."""

from __future__ import annotations


class ScsError(Exception):
    """Something the operator can act on; the CLI prints it as one line, without a traceback.

    :param message: what is wrong and where (file, key, host)
    :param hint: what to do about it
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class RefusedError(ScsError):
    """Input that is refused before anything changes: exit code 2."""

    exit_code = 2


class PausedError(ScsError):
    """A run that stopped between two plays, as it was told to: nothing is half done, and it can be resumed."""
