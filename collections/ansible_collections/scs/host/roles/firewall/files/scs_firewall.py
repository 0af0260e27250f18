#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The host's packet filter, the nftables table `inet scs`.

  scs-firewall load       loads the rules; scs-firewall.service does so at every start of the host
  scs-firewall off        removes them until the next start: every port is open
  scs-firewall try        loads new rules, and takes them back unless the manager confirms that it reaches the host
  scs-firewall restore    takes the rules of an interrupted trial back

Rules are in /etc/scs-firewall/rules.nft, the addresses from which scs connected in /etc/scs-firewall/managers. While
saved.json exists in FOLDER, a trial is neither confirmed nor taken back.
"""

import hashlib
import ipaddress
import json
import os
import subprocess
import sys
import time
from typing import Any

sys.dont_write_bytecode = True

RULES, MANAGERS = "/etc/scs-firewall/rules.nft", "/etc/scs-firewall/managers"
FOLDER = "/var/lib/scs-firewall"
TRY, SAVED, STATUS, CONFIRMED, LOADED = (
    f"{FOLDER}/{name}" for name in ("try.json", "saved.json", "status.json", "confirmed", "loaded")
)
UNIT = "scs-firewall.service"
TABLE = ("table", "inet", "scs")
KEPT = 8
"""Managers that are remembered, the latest ones."""


class FailedError(Exception):
    """The new rules cannot be kept; with the reason."""


def read(path: str) -> "str | None":
    """A file's text; None if it does not exist."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def put(path: str, text: "str | None") -> None:
    """Write a file atomically, even in case of a crash, or remove it."""
    if text is None:
        if os.path.exists(path):
            os.unlink(path)
        return
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), 0o600)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(path + ".new", path)


def nft(*arguments: str, text: str = "") -> str:
    """Run nft and return its output.

    :raises FailedError: it failed, with what it says
    """
    try:
        done = subprocess.run(
            ["nft", *arguments], input=text, capture_output=True, text=True, timeout=60, check=False
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedError(f"nft: {error}") from None
    if done.returncode:
        raise FailedError(f"nft: {' '.join(done.stderr.split())[:300]}")
    return done.stdout


def seen(text: "str | None") -> "list[tuple[str, str]]":
    """(address, port of this host's sshd) of the managers that connected, the latest first."""
    found = []
    for line in (text or "").splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdecimal():
            try:
                found.append((str(ipaddress.ip_address(words[0])), words[1]))
            except ValueError:
                continue
    return found[:KEPT]


def whole(rules: str, managers: "str | None") -> str:
    """One transaction: the rules, and in their sets the managers that connected."""
    lines = [rules]
    for address, port in seen(managers):
        lines.append(f"add element inet scs manager{6 if ':' in address else 4} {{ {address} }}")
        lines.append(f"add element inet scs ssh_ports {{ {port} }}")
    return "\n".join(lines) + "\n"


def listing() -> "str | None":
    """What the kernel has, without counters; None: no table."""
    try:
        return nft("--stateless", "list", *TABLE)
    except FailedError:
        return None


def fingerprint() -> str:
    """Of what the kernel has; empty: no table."""
    text = listing()
    return hashlib.sha256(text.encode()).hexdigest() if text is not None else ""


def load() -> None:
    """Load the rules, all at once or not at all; without a file there are none.

    :raises FailedError: nft refuses them
    """
    rules = read(RULES)
    if rules is None:
        off()
        return
    nft("--file", "-", text=whole(rules, read(MANAGERS)))
    put(LOADED, fingerprint())


def off() -> None:
    """Remove the table."""
    if listing() is not None:
        nft("delete", *TABLE)


def status(token: str, state: str, problems: "tuple[str, ...]" = ()) -> None:
    """Write the state of a trial for the confirming module."""
    put(STATUS, json.dumps({"token": token, "state": state, "problems": list(problems), "warnings": []}))


def attempt() -> int:
    """Try the rules of try.json. Returns the exit code."""
    wanted: dict[str, Any] = json.loads(read(TRY) or "{}")
    token = wanted["token"]
    put(CONFIRMED, None)
    status(token, "starting")
    try:
        if wanted["rules"] is not None:
            nft("--check", "--file", "-", text=whole(wanted["rules"], wanted["managers"]))
    except FailedError as error:
        status(token, "refused", (str(error),))
        return 1
    try:
        put(SAVED, json.dumps({"token": token, "rules": read(RULES), "managers": read(MANAGERS)}))
        put(RULES, wanted["rules"])
        put(MANAGERS, wanted["managers"])
        load()
        status(token, "ready")
        end = time.monotonic() + wanted["seconds"]
        while time.monotonic() < end:
            if (read(CONFIRMED) or "").strip() == token:
                # from now on the new rules are permanent
                put(SAVED, None)
                status(token, "confirmed")
                # the rules are loaded already: the unit has them removed when the operator stops it
                subprocess.run(["systemctl", "start", "--no-block", UNIT], check=False)
                return 0
            time.sleep(0.2)
        raise FailedError(f"no confirmation within {wanted['seconds']} s that the manager still reaches the host")
    except Exception as error:  # noqa: BLE001 - after any error, the old rules must return
        restore(str(error) if isinstance(error, (FailedError, OSError)) else f"{type(error).__name__}: {error}")
        return 1


def restore(reason: str) -> None:
    """Load the rules from before the trial. Can be repeated."""
    text = read(SAVED)
    if text is None:
        return
    saved = json.loads(text)
    print(f"restoring the old rules: {reason}", file=sys.stderr)
    put(RULES, saved["rules"])
    put(MANAGERS, saved["managers"])
    try:
        load()
    except FailedError as error:
        # it matters most that the host is reachable
        print(f"the old rules do not load either: {error}", file=sys.stderr)
        off()
    put(SAVED, None)
    status(saved["token"], "rolled back", (reason,))


def main(arguments: "list[str]") -> int:
    """Entry point."""
    try:
        if arguments == ["try"]:
            return attempt()
        if arguments == ["load"]:
            # a host that crashed during a trial starts with the rules from before it
            restore("the host restarted during the trial")
            load()
            return 0
        if arguments == ["off"]:
            off()
            return 0
        if arguments == ["restore"]:
            restore("the trial was interrupted")
            return 0
    except FailedError as error:
        print(error, file=sys.stderr)
        return 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
