# SPDX-License-Identifier: Apache-2.0
"""A bucket that a prober puts numbered objects in, over S3, and reads back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from scs_deploy.prober.https import ApiError
from scs_deploy.validate import objects, s3
from scs_deploy.validate.s3 import S3

SIZE = 4096
PATIENT = 60.0
"""Seconds for a request that nobody measures."""


class Bucket:
    """A bucket of one user.

    :param user: whose requests time out as those of a prober
    """

    def __init__(self, user: S3, name: str) -> None:
        self._user, self.name = user, name
        self._patient = replace(user, timeout=PATIENT)

    def make(self) -> None:
        """Make it.

        :raises ApiError, OSError: it is not made
        """
        _done(self._patient("PUT", f"/{self.name}"))

    def put(self, number: int) -> None:
        """Store a number.

        :raises ApiError, OSError: nobody acknowledged it
        """
        _done(self._user("PUT", self._path(number), body=self._content(number)))

    def numbers(self) -> list[int]:
        """The numbers that are listed.

        :raises ApiError, OSError: no list
        """
        found: list[int] = []
        query = {"list-type": "2"}
        while True:
            text = _done(self._patient("GET", f"/{self.name}", query)).text
            found += [int(key) for key in s3.values(text, "Key")]
            following = s3.values(text, "NextContinuationToken")
            if s3.values(text, "IsTruncated") != ["true"] or not following:
                return found
            query["continuation-token"] = following[0]

    def spoiled(self, numbers: Iterable[int]) -> list[int]:
        """Those of the numbers whose objects are not returned as they were stored.

        :raises ApiError, OSError: no answer
        """
        return [n for n in numbers if _found(self._patient("GET", self._path(n))) != self._content(n)]

    def remove(self) -> None:
        """Remove it and everything in it.

        :raises ApiError, OSError: something is left
        """
        objects.empty(self._patient, self.name)
        _done(self._patient("DELETE", f"/{self.name}"))

    def _path(self, number: int) -> str:
        return f"/{self.name}/{number:08d}"

    def _content(self, number: int) -> bytes:
        return f"{self.name} {number}\n".encode().ljust(SIZE, b".")


def _done(answer: Any) -> Any:
    if not answer.ok:
        raise ApiError(answer.status_code, s3.reason(answer))
    return answer


def _found(answer: Any) -> bytes:
    """An object's content; empty: there is none."""
    return b"" if answer.status_code == 404 else bytes(_done(answer).content)
