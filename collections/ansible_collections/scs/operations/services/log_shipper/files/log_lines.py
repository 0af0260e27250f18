# SPDX-License-Identifier: Apache-2.0
"""What a line of a log says of itself: level, request, user, project, server, logger."""

import re
from dataclasses import dataclass, field

from container_log import Levels

# oslo.log's logging_context_format_string: process, level, logger, then [global request, request, user, project, ...]
_OSLO = re.compile(
    r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \d+ [A-Z]+ (?P<logger>[\w.]+) "
    r"\[(?:(?:None|-|req-[0-9a-f-]{36}) )?(?P<request_id>req-[0-9a-f-]{36})"
    r"(?: (?P<user>[^\s\]]+) (?P<project>[^\s\]]+))?"
)
_REQUEST = re.compile(r"\breq-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_SERVER = re.compile(r"\[instance: ([0-9a-f-]{36})\]")
_GLOBAL = re.compile(r"\[(req-[0-9a-f-]{36}) req-")


@dataclass
class Reading:
    """What the lines before say of those that follow."""

    levels: Levels = field(default_factory=lambda: Levels("debug"))


def fields(text: str, reading: Reading) -> dict[str, str]:
    """The fields of a line of a container, of those that it has."""
    reading.levels.accept(text)
    found = {"level": reading.levels.name}
    oslo = _OSLO.match(text)
    if oslo:
        found |= {n: v for n, v in oslo.groupdict().items() if v and v not in ("-", "None")}
        if whole := _GLOBAL.search(text, 0, 400):
            found["global_request_id"] = whole[1]
    elif request := _REQUEST.search(text):
        found["request_id"] = request[0]
    if server := _SERVER.search(text):
        found["server"] = server[1]
    return found
