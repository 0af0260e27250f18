# SPDX-License-Identifier: Apache-2.0
"""The packet filter of a real host: who gets in, who does not, and that a host that lost its manager opens again.

The clients are containers on the host's networks: a compute host, a stranger on the management network, and one on the
storage network that takes the host for a router.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.host.conftest import ADDRESS, COMMON, GROUPS, HOST, MANAGER, NAME, STORAGE, HostUnderTest, eventually

COMPUTE, STRANGER, OUTSIDE = "172.31.77.12", "172.31.77.66", "172.31.78.66"
CLIENTS = {"compute": (COMPUTE, "management"), "stranger": (STRANGER, "management"), "outside": (OUTSIDE, "storage")}
# memcached's, RabbitMQ's, one that nobody declares, and one that the operator opens
CACHE, BROKER, OTHER, AGENT = 11211, 5671, 7777, 9100
LIMIT = {"firewall_confirm_seconds": 8}
SERVE = (
    "import socket,threading,time\n"
    "for port in ({ports}):\n"
    "    s = socket.create_server(('', port))\n"
    "    threading.Thread(target=lambda s=s: [s.accept() for _ in iter(int, 1)]).start()\n"
)
CONNECT = "import socket; socket.create_connection(('{address}', {port}), 2)"


def docker(*arguments: str) -> bool:
    """Whether a docker command succeeds."""
    return not subprocess.run(["docker", *arguments], capture_output=True, timeout=60, check=False).returncode


class Clients:
    """Containers on the host's networks."""

    def reaches(self, client: str, port: int, address: str = ADDRESS) -> bool:
        """Whether a client's connection is accepted."""
        program = CONNECT.format(address=address, port=port)
        return docker("exec", f"scs-{NAME}-{client}", "python3", "-c", program)


@pytest.fixture(scope="module")
def clients(host: HostUnderTest) -> Iterator[Clients]:
    """The clients, and something that listens on the host."""
    names = [f"scs-{NAME}-{client}" for client in CLIENTS]
    docker("rm", "--force", *names)
    for client, (address, network) in CLIENTS.items():
        docker(
            "run", "--detach", "--name", f"scs-{NAME}-{client}", "--network", f"scs-{NAME}-{network}", "--ip", address,
            "--cap-add", "NET_ADMIN", "--entrypoint", "sleep", "scs/node:2025.1", "infinity",
        )  # fmt: skip
    docker("exec", names[2], "ip", "route", "replace", "172.31.77.0/24", "via", STORAGE)
    docker("exec", names[1], "ip", "route", "replace", "172.31.78.0/24", "via", ADDRESS)
    program = SERVE.format(ports=f"{CACHE}, {BROKER}, {OTHER}, {AGENT}")
    docker("exec", "--detach", f"scs-{HOST}", "python3", "-c", program)
    # the stranger serves, too: is it reached through the host?
    docker("exec", "--detach", names[1], "python3", "-c", SERVE.format(ports=f"{CACHE}, {OTHER}"))
    under_test = Clients()
    eventually(lambda: under_test.reaches("compute", AGENT), 20, "something listens on the host")
    yield under_test
    docker("rm", "--force", *names)


@pytest.fixture(scope="module", autouse=True)
def region(host: HostUnderTest) -> Iterator[None]:
    """Another compute host in the inventory, which exists in the addresses only, and the region's CA."""
    children: dict[str, Any] = {group: {"hosts": {HOST: None}} for group in GROUPS}
    before = yaml.safe_load((host.folder / "inventory" / "hosts.yml").read_text(encoding="utf-8"))
    children["compute"]["hosts"][f"{NAME}-2"] = None
    children["chassis"] = {"children": {"network": None, "compute": None}}
    host.write("inventory/hosts.yml", {"all": {"children": children}})
    networks = {"management": {"interface": "eth0", "address": COMPUTE}}
    host.write(f"inventory/host_vars/{NAME}-2.yml", {**COMMON, "ansible_host": COMPUTE, "networks": networks})
    (host.folder / "vault_password").write_text("of the test\n", encoding="utf-8")
    describe(host)
    made = host.scs("secrets", "init")
    assert made.returncode == 0, made.stderr
    yield
    host.run("sh -c 'systemctl disable --now scs-firewall.service; rm -rf /etc/scs-firewall'")
    host.write("inventory/hosts.yml", before)
    (host.folder / "inventory" / "host_vars" / f"{NAME}-2.yml").unlink()


def describe(host: HostUnderTest, **firewall: Any) -> None:
    """The host on two networks, and the operator's own settings."""
    both = {
        "management": {"interface": "eth0", "address": ADDRESS}, "storage": {"interface": "eth1", "address": STORAGE}
    }  # fmt: skip
    host.write(f"inventory/host_vars/{HOST}.yml", {**COMMON, **LIMIT, "networks": both})
    settings = yaml.safe_load((host.folder / "environment.yml").read_text(encoding="utf-8"))
    host.write("environment.yml", {**settings, "firewall": firewall})


def bootstrap(host: HostUnderTest) -> subprocess.CompletedProcess[str]:
    """`scs bootstrap` of the host."""
    return host.scs("bootstrap", "--host", HOST)


def test_before_the_first_bootstrap_everybody_reaches_everything(host: HostUnderTest, clients: Clients) -> None:
    assert clients.reaches("outside", CACHE)
    assert clients.reaches("outside", OTHER, STRANGER)


def test_only_those_who_use_a_port_reach_it(host: HostUnderTest, clients: Clients) -> None:
    done = bootstrap(host)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Set the packet filter" in done.stdout
    assert clients.reaches("compute", BROKER)
    refused = [("compute", CACHE), ("stranger", BROKER), ("compute", OTHER), ("outside", CACHE), ("outside", BROKER)]
    for client, port in refused:
        assert not clients.reaches(client, port), f"{client} reaches {port}"
    assert not clients.reaches("outside", CACHE, STORAGE)


def test_the_host_is_no_router(host: HostUnderTest, clients: Clients) -> None:
    assert host.run("cat /proc/sys/net/ipv4/ip_forward").strip() == "0"
    assert not clients.reaches("outside", OTHER, STRANGER)
    # also if somebody turns it on again
    host.run("sysctl --write net.ipv4.ip_forward=1")
    assert not clients.reaches("outside", OTHER, STRANGER)
    host.run("sysctl --write net.ipv4.ip_forward=0")


def test_a_second_bootstrap_changes_nothing(host: HostUnderTest) -> None:
    done = bootstrap(host)
    assert f"{HOST}: no changes" in done.stdout, done.stdout + done.stderr


def test_docker_and_the_filter_leave_each_other_alone(host: HostUnderTest, clients: Clients) -> None:
    docker_rules = host.run("iptables-save")
    assert "DOCKER" in docker_rules
    host.run("systemctl restart docker.service")
    assert not clients.reaches("outside", CACHE)
    host.run("systemctl restart scs-firewall.service")
    assert not clients.reaches("outside", CACHE)
    assert "DOCKER" in host.run("iptables-save")
    # the engine does not turn it on
    assert host.run("cat /proc/sys/net/ipv4/ip_forward").strip() == "0"


def test_a_table_that_somebody_changed_is_loaded_again(host: HostUnderTest, clients: Clients) -> None:
    host.run("nft insert rule inet scs input accept")
    assert clients.reaches("outside", CACHE)
    done = bootstrap(host)
    assert f"{HOST}: Set the packet filter" in done.stdout, done.stdout + done.stderr
    assert not clients.reaches("outside", CACHE)


def test_the_operator_opens_a_port(host: HostUnderTest, clients: Clients) -> None:
    assert not clients.reaches("outside", AGENT, STORAGE)
    describe(host, allow=[{"ports": [AGENT], "sources": [f"{OUTSIDE}/32"]}])
    assert bootstrap(host).returncode == 0
    assert clients.reaches("outside", AGENT, STORAGE)
    assert not clients.reaches("stranger", AGENT)
    describe(host)
    assert bootstrap(host).returncode == 0


def test_a_manager_that_connected_from_elsewhere_may_again(host: HostUnderTest, clients: Clients) -> None:
    assert not clients.reaches("outside", 22, STORAGE)
    host.run(f"sh -c 'echo {OUTSIDE} 22 > /etc/scs-firewall/managers; echo {MANAGER} 22 >> /etc/scs-firewall/managers'")
    host.run("systemctl reload scs-firewall.service")
    assert clients.reaches("outside", 22, STORAGE)
    # but not what the manager has no use for
    assert not clients.reaches("outside", CACHE)
    host.run("rm /etc/scs-firewall/managers")
    host.run("systemctl reload scs-firewall.service")
    assert f"{HOST}: no changes" in bootstrap(host).stdout


def test_a_host_that_its_manager_does_not_reach_goes_back(host: HostUnderTest, clients: Clients) -> None:
    rules = host.run("cat /etc/scs-firewall/rules.nft")
    host.run("rm -f /var/lib/scs-firewall/status.json")
    # something cuts the manager off while the new rules are on trial
    wait = "until grep -q ready /var/lib/scs-firewall/status.json; do sleep 0.05; done"
    docker("exec", "--detach", f"scs-{HOST}", "sh", "-c", f"{wait} 2>/dev/null; nft insert rule inet scs input drop")
    describe(host, allow=[{"ports": [AGENT], "sources": [f"{OUTSIDE}/32"]}])
    done = bootstrap(host)
    assert done.returncode == 1, done.stdout
    assert "the host rolled back to its old firewall rules" in done.stderr
    assert host.run("cat /etc/scs-firewall/rules.nft") == rules
    assert not clients.reaches("outside", AGENT, STORAGE)
    assert clients.reaches("compute", BROKER)
    describe(host)
    assert f"{HOST}: no changes" in bootstrap(host).stdout


def test_a_host_that_restarts_during_a_trial_starts_with_the_old_rules(host: HostUnderTest, clients: Clients) -> None:
    rules = host.run("cat /etc/scs-firewall/rules.nft")
    program = (
        "import json; rules = open('/etc/scs-firewall/rules.nft').read(); "
        "json.dump({'token': 't', 'rules': rules, 'managers': None}, open('/var/lib/scs-firewall/saved.json', 'w'))"
    )
    host.run(f"python3 -c {shlex.quote(program)}")
    host.run("sh -c 'echo > /etc/scs-firewall/rules.nft; nft delete table inet scs'")
    assert clients.reaches("outside", CACHE)
    host.run("systemctl restart scs-firewall.service")
    assert host.run("cat /etc/scs-firewall/rules.nft") == rules
    assert not clients.reaches("outside", CACHE)
    assert host.run("ls /var/lib/scs-firewall/saved.json") == ""


def test_off_opens_the_host_and_a_region_without_a_filter_stays_open(host: HostUnderTest, clients: Clients) -> None:
    host.run("systemctl stop scs-firewall.service")
    assert clients.reaches("outside", CACHE)
    describe(host, managed=False)
    assert bootstrap(host).returncode == 0
    assert host.run("cat /etc/scs-firewall/rules.nft") == ""
    assert clients.reaches("outside", CACHE)
    assert f"{HOST}: no changes" in bootstrap(host).stdout
