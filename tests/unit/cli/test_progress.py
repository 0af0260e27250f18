# SPDX-License-Identifier: Apache-2.0
"""Without a terminal a long step says every ten seconds that it goes on: real pipes, with a shorter interval."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from scs_deploy.base.heartbeat import EVERY, Heartbeat
from scs_deploy.base.times import duration

SHORT = """
import sys
import time
from scs_deploy.base import heartbeat
heartbeat.EVERY = 0.2

class Counted(heartbeat.Heartbeat):
    lines = 0
    def __init__(self, say, every=None):
        def counted(line):
            say(line)
            Counted.lines += 1
        super().__init__(counted, every)

heartbeat.Heartbeat = Counted

def work(lines):
    '''Go on until so many lines more were said; where none are, for as long as they would take.'''
    wanted = Counted.lines + lines
    if sys.stdout.isatty():
        time.sleep(lines * 0.3)
    while Counted.lines < wanted and not sys.stdout.isatty():
        time.sleep(0.01)
"""

RUN = (
    SHORT
    + """
from scs_deploy.cli._progress import RunProgress
from scs_deploy.engine.events import TaskDone, TaskStarted
with RunProgress() as progress:
    progress(TaskStarted("Pull [images]", "control-1, control-2"))
    work(2)
    progress(TaskDone("Pull [images]", "control-1", 1, ""))
    with progress.paused():
        time.sleep(0.5)
    print("asked")
"""
)

BUILD = (
    SHORT
    + """
from scs_deploy.cli._options import errors
from scs_deploy.images.events import Event
from scs_deploy.images.progress import Progress
with Progress(errors) as progress:
    progress(Event("keystone", "running", "packages"))
    progress(Event("nova", "running", "build"))
    work(1)
    progress(Event("nova", "built", seconds=0.5))
"""
)

WAIT = (
    SHORT
    + """
from scs_deploy.cli._options import Waiting
with Waiting("observing 3 hosts") as waiting:
    work(1)
    waiting.update("connecting [to] one")
    work(1)
print("result")
"""
)


def piped(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_a_run_says_what_it_does() -> None:
    lines = piped(RUN).stdout.splitlines()
    waits = [line for line in lines if "working" in line]
    assert 2 <= len(waits) <= 3
    assert waits[0].strip() == "working control-1, control-2: Pull [images] (0 s)"
    # a question is not talked over
    assert lines.index("  done    control-1: Pull [images]") == len(waits)
    assert lines[-1] == "asked"


def test_builds_say_what_they_do() -> None:
    lines = piped(BUILD).stderr.splitlines()
    assert lines[0] == "keystone: packages, nova: build (0 s)"
    assert lines[-1] == "nova: built (0 s)"


def test_what_a_command_waits_for_goes_to_stderr() -> None:
    done = piped(WAIT)
    assert done.stdout == "result\n"
    said = done.stderr.splitlines()
    assert said[0] == "observing 3 hosts (0 s)"
    assert said[-1] == "connecting [to] one (0 s)"


def test_a_terminal_gets_no_such_lines() -> None:
    leader, follower = pty.openpty()
    done = subprocess.run([sys.executable, "-c", RUN], stdout=follower, stderr=follower, check=True)
    os.close(follower)
    said = b""
    try:
        while part := os.read(leader, 65536):
            said += part
    except OSError:
        # the other end is closed
        pass
    os.close(leader)
    assert done.returncode == 0
    assert b"working" not in said
    assert b"done" in said


def test_short_work_says_nothing() -> None:
    said: list[str] = []
    with Heartbeat(said.append) as heartbeat:
        heartbeat.doing("something")
    assert (said, EVERY) == ([], 10)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (154, "2 min 34 s")])
def test_times(seconds: float, text: str) -> None:
    assert duration(seconds, 0) == text
