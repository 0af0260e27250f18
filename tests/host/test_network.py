# SPDX-License-Identifier: Apache-2.0
"""Links on a real host: adopted, changed, refused, and taken back by the host itself when the manager lost it.

The tests go on from one another's state, in this order. Bonds and VLANs need a kernel that has them: where it has not,
the same test shows that the host notices and goes back.
"""

from __future__ import annotations

import signal
import subprocess
from typing import Any

from tests.host.conftest import ADDRESS, HOST, MANAGER, STORAGE, HostUnderTest, eventually

APPLY = ("host", "network", "apply", "--yes", "--allow", "network")
PORT = {"addresses": [f"{ADDRESS}/24"], "gateway4": MANAGER}
LINKS: dict[str, Any] = {
    "eth0": PORT,
    "eth1": {},
    "br0": {"kind": "bridge", "members": ["eth1"], "addresses": [f"{STORAGE}/24", "2001:db8:78::11/64"], "mtu": 1400},
}
# the manager's own address behind a router that is none: nothing that is sent to it arrives
CUT_OFF = {**LINKS, "eth0": {**PORT, "routes": [{"to": f"{MANAGER}/32", "via": "172.31.77.77"}]}}
LIMIT = {"network_confirm_seconds": 8}


def good(host: HostUnderTest) -> None:
    """The host is as LINKS say, and the manager reaches it."""
    assert host.addresses("eth0") == {f"{ADDRESS}/24"}
    assert host.addresses("br0") == {f"{STORAGE}/24", "2001:db8:78::11/64"}
    assert host.link("eth1")["master"] == "br0"
    # a container's engine adds one of its own at every start
    assert set(host.default_route()) == {MANAGER}
    assert not host.pending()
    host.describe(LINKS, **LIMIT)
    done = host.scs("host", "network", "plan", "--exit-code")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no changes" in done.stdout


def test_a_plan_shows_files_and_lines_and_nothing_changes_without_consent(host: HostUnderTest) -> None:
    host.describe(LINKS, **LIMIT)
    shown = host.scs("host", "network", "plan", "--exit-code")
    assert shown.returncode == 3, shown.stderr
    assert "create /etc/systemd/network/05-scs-br0.netdev" in shown.stdout
    assert "+Gateway=172.31.77.1" in shown.stdout
    refused = host.scs("host", "network", "apply", "--yes")
    assert refused.returncode == 2
    assert "add --allow network" in refused.stderr
    assert host.files() == {}
    assert host.link("br0") == {}


def test_a_host_that_networkd_did_not_run_is_taken_over(host: HostUnderTest) -> None:
    done = host.scs(*APPLY)
    assert done.returncode == 0, done.stderr
    assert "reachable over new connections" in done.stdout
    assert host.link("br0")["mtu"] == 1400
    good(host)
    again = host.scs(*APPLY)
    assert (again.returncode, "no changes" in again.stdout) == (0, True)


def test_addresses_and_mtu_change_and_the_old_ones_go(host: HostUnderTest) -> None:
    other = {**LINKS, "br0": {**LINKS["br0"], "addresses": ["172.31.78.12/24"], "mtu": 1450}}
    host.describe(other, **LIMIT)
    done = host.scs(*APPLY)
    assert done.returncode == 0, done.stderr
    assert host.addresses("br0") == {"172.31.78.12/24"}
    assert host.link("br0")["mtu"] == 1450


def test_a_bridge_that_goes_gives_its_port_back(host: HostUnderTest) -> None:
    host.describe({"eth0": PORT, "eth1": {"addresses": [f"{STORAGE}/24"]}}, **LIMIT)
    done = host.scs(*APPLY)
    assert done.returncode == 0, done.stderr
    assert host.link("br0") == {}
    assert host.addresses("eth1") == {f"{STORAGE}/24"}
    host.describe(LINKS, **LIMIT)
    assert host.scs(*APPLY).returncode == 0
    good(host)


def test_links_that_do_not_fit_the_host_are_refused_untouched(host: HostUnderTest) -> None:
    before = host.files()
    host.describe({**LINKS, "eth1": {"mac": "02:00:00:00:77:77"}, "eth7": {}}, **LIMIT)
    done = host.scs(*APPLY)
    assert done.returncode == 2, done.stderr
    assert "links.eth1.mac says 02:00:00:00:77:77" in done.stderr
    assert "no port eth7 here" in done.stderr
    assert host.files() == before
    good(host)


def test_a_change_that_cuts_the_host_off_is_taken_back_by_the_host(host: HostUnderTest) -> None:
    host.describe(CUT_OFF, **LIMIT)
    done = host.scs(*APPLY)
    assert done.returncode == 1
    assert "the host rolled back to its old network: no confirmation within 8 s" in done.stderr
    assert "Traceback" not in done.stderr
    good(host)


def test_a_bond_works_or_is_taken_back_where_the_kernel_has_none(host: HostUnderTest) -> None:
    bond = {"kind": "bond", "mode": "active-backup", "members": ["eth1"], "addresses": [f"{STORAGE}/24"]}
    host.describe({"eth0": PORT, "eth1": {}, "bond0": bond}, **LIMIT)
    has_bonds = "Unknown device type" not in _try("ip link add scsprobe type bond && ip link del scsprobe")
    done = host.scs(*APPLY)
    if has_bonds:
        assert done.returncode == 0, done.stderr
        assert host.link("eth1")["master"] == "bond0"
        host.describe(LINKS, **LIMIT)
        assert host.scs(*APPLY).returncode == 0
    else:
        assert done.returncode == 1
        assert "bond0: Failed to create netdev: Operation not supported" in done.stderr
    good(host)


def test_a_manager_that_is_killed_in_the_middle_leaves_the_old_network(host: HostUnderTest) -> None:
    host.describe(CUT_OFF, **LIMIT)
    process: subprocess.Popen[str] = host.start(*APPLY)
    eventually(host.pending, 30, "the try began")
    process.send_signal(signal.SIGKILL)
    process.wait()
    eventually(lambda: not host.pending(), 60, "the host went back")
    assert host.status() == "rolled back"
    good(host)


def test_a_program_that_is_killed_in_the_middle_leaves_the_old_network(host: HostUnderTest) -> None:
    host.describe(CUT_OFF, **LIMIT)
    process: subprocess.Popen[str] = host.start(*APPLY)
    eventually(lambda: host.status() == "ready", 40, "the new network is up")
    host.run("systemctl kill --kill-whom=main --signal=KILL scs-network-try.service")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "the host rolled back to its old network: the trial was interrupted" in said
    good(host)


def test_a_host_that_restarts_in_the_middle_starts_with_the_old_network(host: HostUnderTest) -> None:
    host.describe(CUT_OFF, network_confirm_seconds=120)
    process: subprocess.Popen[str] = host.start(*APPLY)
    eventually(lambda: host.status() == "ready", 40, "the new network is up")
    # the host goes down at once: nothing on it has the time to put anything back
    _try(f"docker kill scs-{HOST} && docker start scs-{HOST}")
    _, said = process.communicate(timeout=180)
    assert process.returncode == 1, said
    assert "the host restarted during the trial" in said
    eventually(lambda: host.addresses("br0"), 30, "networkd made the bridge again")
    good(host)


def test_what_somebody_changed_by_hand_is_in_the_plan(host: HostUnderTest) -> None:
    host.run("sed -i s/1400/1300/ /etc/systemd/network/05-scs-br0.network")
    host.run("ip address del 2001:db8:78::11/64 dev br0")
    shown = host.scs("host", "network", "plan")
    assert "-MTUBytes=1300" in shown.stdout
    assert "+MTUBytes=1400" in shown.stdout
    assert host.scs(*APPLY).returncode == 0
    good(host)
    host.run("ip address del 2001:db8:78::11/64 dev br0")
    shown = host.scs("host", "network", "plan", "--exit-code")
    assert shown.returncode == 3
    assert "br0 has no address 2001:db8:78::11/64" in shown.stdout
    assert host.scs(*APPLY).returncode == 0
    good(host)


def _try(command: str) -> str:
    done = subprocess.run(["sh", "-c", command], text=True, capture_output=True, timeout=60, check=False)
    return done.stdout + done.stderr
