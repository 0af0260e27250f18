#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Applies a network configuration to this host on trial, and restores the old one unless the new one is confirmed.

  scs-network try        applies try.json, waits for the confirmation, and restores the old state without one
  scs-network restore    restores the old state after an interrupted trial; `restore boot` before the network starts

The state is in FOLDER: while saved.json exists, a trial is neither confirmed nor rolled back. The unit that runs `try`
calls `restore` however it ends, and so does scs-network-restore.service after a crash of the host.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from typing import Any

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from scs_network_links import leftovers, missing, remade, stuck, superseded, unfit, way_back  # noqa: E402 - in the same folder

FOLDER = "/var/lib/scs-network"
TRY, SAVED, STATUS, CONFIRMED, CURRENT = (
    f"{FOLDER}/{name}" for name in ("try.json", "saved.json", "status.json", "confirmed", "current.json")
)
Json = dict[str, Any]
Files = Mapping[str, str | None]
"""path: text, or None for no file"""
NETWORKD = "systemd-networkd.service"
SETTLE = 30.0
"""Seconds until all links must be up as configured."""
NUDGE = 3.0
"""Seconds after which a link that networkd considers configured, but that differs, is configured again."""


class FailedError(Exception):
    """The new configuration cannot be kept; with the reason."""


# files


def read(path: str) -> str | None:
    """A file's text; None if it does not exist."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def load(path: str) -> Any:
    """A JSON file's value; None if it does not exist."""
    text = read(path)
    return None if text is None else json.loads(text)


def write(path: str, text: str, mode: int = 0o644) -> None:
    """Write a file atomically, even in case of a crash."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".scs-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.replace(temporary, path)
        except OSError:
            # a mount point, such as /etc/resolv.conf in a container
            with open(path, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(text)
            os.unlink(temporary)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def remove(path: str) -> None:
    """Remove a file, and its folder if that is a folder of drop-ins and becomes empty."""
    if os.path.lexists(path):
        os.unlink(path)
    folder = os.path.dirname(path)
    if folder.endswith(".d") and os.path.isdir(folder) and not os.listdir(folder):
        os.rmdir(folder)


def mode_of(path: str) -> int:
    """A file's mode. Netplan warns of files that others can read."""
    return 0o600 if path.startswith("/etc/netplan/") else 0o644


def put(files: Files) -> list[str]:
    """Write or remove files; path: text, or None to remove it. Returns those that differed."""
    changed = [path for path, text in files.items() if read(path) != text]
    for path in changed:
        text = files[path]
        if text is None:
            remove(path)
        else:
            write(path, text, mode_of(path))
    return changed


def status(token: str, state: str, problems: Iterable[str] = (), warnings: Iterable[str] = ()) -> None:
    """Write the state of a trial for the confirming module."""
    write(STATUS, json.dumps({"token": token, "state": state, "problems": list(problems), "warnings": list(warnings)}))


# the host


def run(*command: str, timeout: float = 30) -> str:
    """Run a command and return its output.

    :raises FailedError: it failed, with the end of its output
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise FailedError(f"{' '.join(command)}: did not end within {timeout} s") from None
    except FileNotFoundError:
        raise FailedError(f"{command[0]}: not installed") from None
    if done.returncode:
        raise FailedError(f"{' '.join(command)}: {' '.join((done.stderr or done.stdout).split())[-300:]}")
    return done.stdout


def quiet(*command: str) -> str:
    """Run a command. A failure is only logged to the journal."""
    try:
        return run(*command)
    except FailedError as error:
        print(error, file=sys.stderr)
        return ""


def kernel() -> Json:
    """The kernel's view: links with their addresses by name, and routes of the main table."""
    routes = [
        {**r, "family": family}
        for family in ("-4", "-6")
        for r in json.loads(quiet("ip", "-json", family, "route", "show", "table", "main") or "[]")
    ]
    links = json.loads(run("ip", "-json", "address"))
    return {"links": {link["ifname"]: link for link in links if link.get("ifname")}, "routes": routes}


def network_states() -> dict[str, Json]:
    """networkd's view of each link, by name; empty if it is not running."""
    text = quiet("networkctl", "--json=short", "list")
    links = json.loads(text).get("Interfaces", []) if text.startswith("{") else []
    return {link["Name"]: link for link in links}


def unit_state() -> dict[str, bool]:
    """Whether networkd is running, and whether it starts at boot."""
    answers = {}
    for verb in ("is-enabled", "is-active"):
        done = subprocess.run(["systemctl", verb, NETWORKD], capture_output=True, text=True, check=False)
        answers[verb] = done.returncode == 0
    return answers


def generated() -> dict[str, str | None]:
    """The .netdev files that netplan generated, path: text."""
    return {path: read(path) for path in glob.glob("/run/systemd/network/10-netplan-*.netdev")}


# a trial


def apply(before: Files, after: Files, renderer: str) -> None:
    """Make networkd read the files again after they changed from `before` to `after` (path: text or None)."""
    made = generated()
    if renderer == "netplan":
        run("netplan", "generate")
    elif any(path.startswith("/etc/netplan/") for path in before):
        quiet("netplan", "generate")
    deleted = remade({**before, **made}, {**after, **generated()})
    for name in deleted:
        if os.path.exists(f"/sys/class/net/{name}"):
            run("ip", "link", "delete", name)
    running = unit_state()["is-active"]
    daemon = "/etc/systemd/networkd.conf.d/05-scs.conf"
    if deleted or not running or before.get(daemon) != after.get(daemon):
        run("systemctl", "restart", NETWORKD, timeout=60)
    else:
        run("networkctl", "reload")


def complaints(since: int, wanted: Json) -> list[str]:
    """networkd's permanent errors about our files and links: unknown keys, links that it cannot create."""
    text = quiet("journalctl", "--unit", NETWORKD, "--since", f"@{since}", "--output", "cat", "--no-pager")
    ours = [f"{path}:" for path in wanted["write"]]
    # systemd 257, and earlier versions
    made = ("Failed to create netdev", "netdev could not be created")
    ours += [f"{name}: {said}" for name in wanted["links"] for said in made]
    return [line for line in dict.fromkeys(text.splitlines()) if any(line.startswith(own) for own in ours)]


def settle(wanted: Json, before: Json, started: int) -> list[str]:
    """Wait until every link is as configured; returns warnings.

    :raises FailedError: not in time, with all differences
    """
    end, nudge = time.monotonic() + SETTLE, time.monotonic() + NUDGE
    while True:
        said = complaints(started, wanted)
        if said:
            raise FailedError("; ".join(said[:3]))
        view = (wanted["links"], before, kernel(), network_states(), wanted["network_files"])
        problems, warnings = missing(*view)
        if not problems:
            return warnings
        if time.monotonic() > end:
            raise FailedError("; ".join(problems))
        if time.monotonic() > nudge:
            nudge = end
            # networkd ignores changes that others made to a link whose file is unchanged
            for name in stuck(*view):
                quiet("networkctl", "reconfigure", name)
        time.sleep(0.5)


def attempt() -> int:
    """Apply try.json, and keep it if it is confirmed in time; otherwise restore the old state."""
    restore("an earlier trial was interrupted")
    wanted = load(TRY)
    token, files = wanted["token"], {**wanted["write"], **dict.fromkeys(wanted["remove"])}
    before = kernel()
    reasons = unfit(wanted["links"], before)
    if reasons:
        status(token, "refused", reasons)
        return 1
    old = {path: read(path) for path in files}
    remove(CONFIRMED)
    saved = {
        "token": token, "files": old, "new": files, "unit": unit_state(), "kernel": before,
        "renderer": wanted["renderer"], "links": sorted({*wanted["links"], *((load(CURRENT) or {}).get("links", {}))}),
    }  # fmt: skip
    write(SAVED, json.dumps(saved))
    status(token, "applying")
    try:
        started = int(time.time())
        put(files)
        run("systemctl", "enable", NETWORKD)
        # before adding addresses: deleting a network's first address also deletes its further ones
        for command in leftovers((load(CURRENT) or {}).get("links", {}), wanted["links"], before):
            quiet("ip", *command)
        apply(old, files, wanted["renderer"])
        warnings = settle(wanted, before, started)
        for command in superseded(wanted["links"], kernel()):
            quiet("ip", *command)
        status(token, "ready", warnings=warnings)
        end = time.monotonic() + wanted["seconds"]
        while time.monotonic() < end:
            if (read(CONFIRMED) or "").strip() == token:
                write(CURRENT, json.dumps({"links": wanted["links"]}))
                # from now on the new configuration is permanent
                os.unlink(SAVED)
                status(token, "confirmed", warnings=warnings)
                return 0
            time.sleep(0.2)
        raise FailedError(f"no confirmation within {wanted['seconds']} s that the manager still reaches the host")
    except Exception as error:  # noqa: BLE001 - after any error, the old state must return
        restore(str(error) if isinstance(error, (FailedError, OSError)) else f"{type(error).__name__}: {error}")
        return 1


def restore(reason: str, boot: bool = False) -> None:
    """Restore files, networkd and links to their state before the trial. Can be repeated."""
    saved = load(SAVED)
    if saved is None:
        return
    print(f"restoring the old network: {reason}", file=sys.stderr)
    put(saved["files"])
    if not saved["unit"]["is-enabled"]:
        quiet("systemctl", "disable", NETWORKD)
    if boot:
        if glob.glob("/etc/netplan/*.yaml"):
            quiet("netplan", "generate")
    else:
        _restore_links(saved)
    os.unlink(SAVED)
    status(saved["token"], "rolled back", [reason])


def _restore_links(saved: Json) -> None:
    before, touched = saved["kernel"], set(saved["links"])
    netplan = any(path.startswith("/etc/netplan/") for path in saved["files"])
    try:
        if saved["unit"]["is-active"]:
            apply(saved["new"], saved["files"], "netplan" if netplan else "networkd")
            _until_quiet()
        else:
            if netplan:
                quiet("netplan", "generate")
            run("systemctl", "stop", NETWORKD, "systemd-networkd.socket")
    except FailedError as error:
        print(error, file=sys.stderr)
    # restore without networkd what it has not restored (yet): it matters most that the host is reachable
    for command in way_back(before, kernel(), touched):
        quiet("ip", *command)


def _until_quiet() -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        busy = ("pending", "initialized", "configuring")
        if not any(s.get("AdministrativeState", s.get("SetupState")) in busy for s in network_states().values()):
            return
        time.sleep(0.3)


def main(arguments: list[str]) -> int:
    """Entry point."""
    if arguments == ["try"]:
        return attempt()
    if arguments[:1] == ["restore"]:
        boot = arguments[1:] == ["boot"]
        restore("the host restarted during the trial" if boot else "the trial was interrupted", boot)
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
