# SPDX-License-Identifier: Apache-2.0
"""The errors that users see: what is wrong, where, and what to do."""

from __future__ import annotations


class ScsError(Exception):
    """A failure that the operator can act on. The CLI prints it as one line, without a traceback.

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
    """Input that scs rejects before it changes anything: exit code 2."""

    exit_code = 2


class PausedError(ScsError):
    """A run that stopped between two plays on request. No step is half done, and the run can be resumed."""
