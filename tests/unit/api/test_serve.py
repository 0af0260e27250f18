# SPDX-License-Identifier: Apache-2.0
"""`scs serve` as its own process: password, TLS, refusals, and its end."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from scs_deploy.api import access, unit
from scs_deploy.api.server import Serving, certificate_names
from scs_deploy.base import systemd
from scs_deploy.region.region import Region
from scs_deploy.secrets import issuing
from scs_deploy.secrets.issuing import Wanted
from tests.support.page_region import PASSWORD

SCS = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]


def scs(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SCS, *words], input=given, capture_output=True, text=True, timeout=60, check=False)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """(process, URL) of a page that answers."""
    command = [*SCS, "serve", "--environment", "berlin", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout and process.stderr
        line = process.stdout.readline()
        assert line.startswith("serving berlin at https://"), line + process.stderr.read()
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.wait()
        assert process.stdout and process.stderr
        process.stdout.close()
        process.stderr.close()


def test_it_serves_with_the_regions_ca_and_ends_with_ctrl_c(region: Region) -> None:
    with serving("--listen", f"127.0.0.1:{free_port()}") as (process, url):
        assert url.startswith("https://localhost:")
        session = requests.Session()
        session.trust_env, session.verify = False, str(region.environment.ca_file)
        assert session.get(f"{url}status", timeout=20).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{url}status", timeout=20)
        done = session.post(f"{url}login", data={"password": PASSWORD}, headers={"Origin": url[:-1]}, timeout=20)
        assert done.status_code == 200 and "control-1" in session.get(f"{url}hosts", timeout=20).text
        # its hosts do not exist: the looks say so, and the page goes on
        deadline = time.monotonic() + 60
        while "The latest look failed" not in session.get(f"{url}certificates", timeout=20).text:
            text = session.get(f"{url}certificates", timeout=20).text
            if "cannot be read" in text:
                break
            assert time.monotonic() < deadline, text
            time.sleep(0.5)
        stream = session.get(f"{url}events", stream=True, timeout=20)
        looks = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert time.monotonic() - began < 8
        stream.close()
        assert process.stderr and process.stderr.read() == ""
    # no look outlives it
    assert not [one for one in looks if Path(f"/proc/{one}").exists()]


def test_sigterm_ends_it_cleanly_too(region: Region) -> None:
    with serving("--listen", f"127.0.0.1:{free_port()}", "--public-only") as (process, _):
        process.terminate()
        assert process.wait(20) == 0


def test_a_port_in_use_is_refused(region: Region) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = scs("serve", "--listen", f"127.0.0.1:{port}", "--environment", "berlin")
    assert done.returncode == 2
    said = f"error: --listen 127.0.0.1:{port}: address already in use (another program uses this port: "
    assert done.stderr == f"{said}choose another one)\n"


def test_without_a_password_it_says_what_to_do(region: Region) -> None:
    file = access.file_of(region.environment)
    kept = file.read_text()
    file.unlink()
    try:
        done = scs("serve", "--environment", "berlin")
    finally:
        file.write_text(kept)
    assert done.returncode == 2
    assert done.stderr == (
        "error: the page has no password yet (scs serve --set-password, or --public-only for the public status page "
        "alone)\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--listen", "8443"), "--listen 8443: not HOST:PORT"),
        (("--listen", "127.0.0.1:0"), "--listen 127.0.0.1:0: not HOST:PORT"),
        (("--listen", "192.0.2.1:8443"), "--listen 192.0.2.1:8443: cannot assign requested address"),
        (("--listen", "nosuch.invalid:8443"), "--listen nosuch.invalid:8443: "),
        (
            ("--certificate", "/etc/hostname/nosuch", "--key", "/etc/hostname/nosuch"),
            "--certificate /etc/hostname/nosuch: not a directory",
        ),
        (("--certificate", "/etc/hostname"), "--certificate and --key belong together"),
        (("--certificate", "/etc/hostname", "--key", "/etc/hostname"), "cannot be used: "),
        (("--set-password", "--install"), "--set-password, --install and --remove cannot be combined"),
        (("--environment", "nosuch"), "environment 'nosuch' does not exist"),
    ],
)
def test_bad_options_are_refused_in_one_line(region: Region, words: tuple[str, ...], said: str) -> None:
    environment = () if "--environment" in words else ("--environment", "berlin")
    done = scs("serve", *environment, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_an_own_certificate(region: Region, tmp_path: Path) -> None:
    authority = issuing.new_ca("elsewhere")
    leaf = issuing.issue(authority, Wanted(names=("localhost",)))
    for name, text in (("ca", authority.cert), ("crt", leaf.cert), ("key", leaf.key)):
        (tmp_path / name).write_text(text)
    files = ("--certificate", str(tmp_path / "crt"), "--key", str(tmp_path / "key"))
    with serving("--listen", f"127.0.0.1:{free_port()}", "--public-only", *files) as (_, url):
        assert requests.get(f"{url}status", verify=str(tmp_path / "ca"), timeout=20).status_code == 200


def test_the_password_comes_from_a_pipe_or_a_terminal(region: Region) -> None:
    file = access.file_of(region.environment)
    kept = file.read_text()
    try:
        assert scs("serve", "--set-password", "-e", "berlin", given="of a pipe, long\n").returncode == 0
        stored = access.load_password(region.environment)
        assert stored and stored.fits("of a pipe, long")
        refused = scs("serve", "--set-password", "-e", "berlin", given="short\n")
        assert (refused.returncode, stored) == (2, access.load_password(region.environment))
        code, said = typed("of a keyboard, long", "of a keyboard, long")
        assert code == 0 and "of a keyboard" not in said
        stored = access.load_password(region.environment)
        assert stored and stored.fits("of a keyboard, long")
        code, said = typed("of a keyboard, one", "of a keyboard, two")
        assert code == 2 and "the passwords differ" in said
    finally:
        file.write_text(kept)


def typed(*lines: str) -> tuple[int, str]:
    """(exit code, what the terminal shows) when somebody types the password."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*SCS, "serve", "--set-password", "-e", "berlin"])
    said = b""
    left = list(lines)
    while True:
        try:
            part = os.read(terminal, 1024)
        except OSError:
            break
        if not part:
            break
        said += part
        if left and said.rstrip().endswith(b":"):
            os.write(terminal, left.pop(0).encode() + b"\n")
            # the same prompt does not count twice
            said += b"."
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode()


def test_the_names_of_its_certificate() -> None:
    assert certificate_names("127.0.0.1", ("page.example",)) == ("localhost", "127.0.0.1", "page.example")
    assert certificate_names("192.0.2.1", ()) == ("192.0.2.1",)
    assert certificate_names("0.0.0.0", ("page.example",))[0] == "page.example"
    assert certificate_names("manager.example", ()) == ("manager.example",)


def test_the_unit_of_systemd(region: Region, tmp_path: Path) -> None:
    wanted = Serving(listen="192.0.2.1:8443", names=("page.example",), public_only=True)
    made = unit.units(region.environment, wanted, "/opt/scs/bin/scs", {"SCS_ROOT": "/opt/scs"}, "operator")
    ((name, text),) = made.items()
    assert name == "scs-serve-berlin.service"
    assert 'Environment="SCS_ROOT=/opt/scs"\n' in text
    assert (
        'ExecStart="/opt/scs/bin/scs" "serve" "--environment" "berlin" "--listen" "192.0.2.1:8443" "--name" '
        '"page.example" "--public-only"\nUser=operator\n'
    ) in text
    assert systemd.INSTALL in text
