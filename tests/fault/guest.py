# SPDX-License-Identifier: Apache-2.0
"""A guest that writes numbers on a volume through every fault; what the storage acknowledged must stay there."""

from __future__ import annotations

import base64
import json
import secrets as random
import time
from collections.abc import Callable
from pathlib import Path

from scs_deploy.region.region import Region
from scs_deploy.secrets import clouds
from scs_deploy.state.measurement import Gap, longest_gap
from scs_deploy.validate import guest_image
from scs_deploy.validate.disks import CLIENT, POOL, READER
from scs_deploy.validate.region import clean
from tests.fault import layout
from tests.fault.console import Console
from tests.fault.faults import FaultError, Node
from tests.fault.layout import Write
from tests.fault.record import discrepancies

PREFIX = "scs-fault-"
"""Of everything that it needs in the cloud."""
HERE = Path(__file__).parent
MADE, BOOTED, MOVED = 300, 420, 300
"""Seconds until an image or a volume is made, until a new guest writes, and until it is on another host."""
SILENCE = 180
"""Seconds until a guest that does not come back by itself is started."""


class Guest:
    """A guest, its volume and what they need, from `make` to `remove`."""

    def __init__(self, inputs: Region, nodes: dict[str, Node]) -> None:
        self._inputs, self._nodes = inputs, nodes
        self.token = f"scs-{random.token_hex(4)}"
        self.cloud = clouds.connect(inputs.environment)
        self.server = self.volume = ""
        self.console = Console((), "")

    # -- life

    def make(self) -> None:
        """Make all of it and wait until the guest writes. What an interrupted session left is removed first.

        :raises AssertionError: it does not write
        """
        clean(self.cloud, PREFIX)
        name, compute, network = f"{PREFIX}{self.token}", self.cloud.compute, self.cloud.network
        environment = self._inputs.environment
        file = guest_image.ensure(environment.state / "guest-image", f"scs/base:{environment.settings.release}").path
        image = self.cloud.image.create_image(
            name, filename=str(file), disk_format="qcow2", container_format="bare", visibility="private", wait=True,
            timeout=MADE, allow_duplicates=True, hw_disk_bus="virtio", hw_vif_model="virtio",
        )  # fmt: skip
        self.volume = self.cloud.block_storage.create_volume(name=name, size=layout.SIZE, image_id=image.id).id
        self._await_volume("available")
        flavor = compute.create_flavor(name=name, ram=256, vcpus=1, disk=1)
        net = network.create_network(name=name)
        network.create_subnet(name=name, network_id=net.id, ip_version=4, cidr="192.168.241.0/24")
        script = layout.user_data((HERE / "guest_writer.sh").read_text(encoding="utf-8"), self.token)
        disk = {
            "boot_index": 0, "uuid": self.volume, "source_type": "volume", "destination_type": "volume",
            "delete_on_termination": False,
        }  # fmt: skip
        self.server = compute.create_server(
            name=name, flavor_id=flavor.id, networks=[{"uuid": net.id}], block_device_mapping_v2=[disk],
            user_data=base64.b64encode(script.encode()).decode(),
        ).id  # fmt: skip
        self.console = Console(self._nodes.values(), self.server)
        self.console.start()
        assert self._until(lambda: bool(self.console.writes) or self.status() == "ERROR", BOOTED, 2), (
            f"the guest does not write {BOOTED} s after it was made: {self.says()}"
        )
        assert self.console.writes, f"the guest does not start: {self.says()}"

    def remove(self) -> None:
        """Remove all of it.

        :raises AssertionError: something is left
        """
        self.console.stop()
        _, failed = clean(self.cloud, PREFIX)
        assert not failed, f"could not remove: {'; '.join(failed)}"

    # -- state

    def status(self) -> str:
        """As Nova has it."""
        return str(self.cloud.compute.get_server(self.server).status)

    def host(self) -> str:
        """Where it runs, by Nova."""
        return str(self.cloud.compute.get_server(self.server).compute_host)

    def says(self) -> str:
        """Its state and the end of its console, for a message."""
        server = self.cloud.compute.get_server(self.server)
        fault = (server.fault or {}).get("message", "")
        ending = " | ".join(line for line in self.console.lines[-3:] if line.isprintable())
        words = f"{server.status}, task {server.task_state}, on {server.compute_host}"
        return f"{words}{f', {fault}' if fault else ''}; its console ends: {ending or 'nothing'}"

    def writes(self, since: float, until: float) -> list[Write]:
        """What it told of between two times, in order."""
        return [w for _, w in sorted(self.console.now().items()) if since <= w.seen <= until]

    def pause(self, since: float, until: float) -> Gap:
        """The longest time that a write waited. While the guest itself is gone, none waits: see `layout.away`."""
        return longest_gap(layout.KIND, layout.samples(self.writes(since, until)), since, until)

    # -- what tests do with it

    def leave(self, host: str) -> None:
        """Move it off a host that is about to be lost.

        :raises AssertionError: it stays
        """
        if self.host() != host:
            return
        self.cloud.compute.live_migrate_server(self.server, host=None, block_migration="auto")
        gone = self._until(lambda: self.host() != host and self.status() == "ACTIVE", MOVED, 2)
        assert gone, f"the guest is still on {host} {MOVED} s after its migration began: {self.says()}"
        self.awake()

    def awake(self) -> list[str]:
        """Wait until it writes; returns what was done for that.

        :raises AssertionError: it does not, also after it was started
        """
        begin = time.time()
        if self._writes_since(begin, SILENCE):
            return []
        done = f"the guest did not come back by itself in {SILENCE} s: {self.says()}"
        if self.status() == "SHUTOFF":
            self.cloud.compute.start_server(self.server)
        else:
            self.cloud.compute.reboot_server(self.server, "HARD")
        assert self._writes_since(time.time(), BOOTED), f"{done}; nor does it write after its start: {self.says()}"
        return [done]

    def _writes_since(self, begin: float, deadline: float) -> bool:
        return self._until(lambda: any(w.seen > begin for w in list(self.console.writes.values())[-3:]), deadline, 0.5)

    def object(self) -> str:
        """The object in the pool that it writes to now.

        :raises FaultError: no host tells
        """
        command = ("rbd", "--id", CLIENT, "info", "--format", "json", f"{POOL}/volume-{self.volume}")
        image = json.loads(self._read(*command))
        number = max(self.console.now())
        return f"{image['block_name_prefix']}.{(layout.FIRST + number) * layout.BLOCK // image['object_size']:016x}"

    def verify(self) -> list[str]:
        """Compare what was acknowledged since the guest was made with what its volume holds; empty: all is there.

        :raises FaultError: no host can read the volume
        """
        told = self.console.now()
        spans = layout.attempted(told)
        found = self._numbers(spans)
        numbers = (n for begin, end in spans for n in range(begin, end + 1))
        return discrepancies("blocks of the guest", numbers, (n for n, w in told.items() if w.good), found)

    def _numbers(self, spans: list[tuple[int, int]]) -> list[int]:
        program = (HERE / "volume_numbers.py").read_text(encoding="utf-8")
        question = json.dumps({
            "pool": POOL, "client": CLIENT, "image": f"volume-{self.volume}", "token": self.token,
            "block": layout.BLOCK, "first": layout.FIRST, "spans": spans,
        })  # fmt: skip
        answer = self._read("python3", "-c", program, question)
        return [n for begin, end in json.loads(answer) for n in range(begin, end + 1)]

    def _read(self, *command: str) -> str:
        """What a command prints in a container that may read the volume, on the first host where it can."""
        problems = []
        for host in (h.name for h in self._inputs.hosts_of("cinder", READER)):
            try:
                return self._nodes[host].inside(READER, *command, timeout=300)
            except FaultError as error:
                problems.append(f"{host}: {str(error).splitlines()[-1][-300:]}")
        raise FaultError(f"the guest's volume cannot be read: {'; '.join(problems)}")

    def _await_volume(self, wanted: str) -> None:
        get = self.cloud.block_storage.get_volume
        self._until(lambda: get(self.volume).status == wanted or "error" in get(self.volume).status, MADE, 2)
        status = get(self.volume).status
        assert status == wanted, f"the guest's volume is {status} after {MADE} s, not {wanted}"

    @staticmethod
    def _until(condition: Callable[[], bool], deadline: float, interval: float) -> bool:
        """Whether it holds in time; an API that does not answer is asked again."""
        end = time.monotonic() + deadline
        while True:
            try:
                if condition():
                    return True
            except Exception as error:  # noqa: BLE001 - openstacksdk raises errors of three libraries
                problem = error
                if time.monotonic() > end:
                    raise AssertionError(f"no answer about the guest: {problem}") from None
            if time.monotonic() > end:
                return False
            time.sleep(interval)


class Keeper:
    """The session's guest: made when a test first needs it, kept from test to test.

    :param wanted: otherwise there never is one
    """

    def __init__(self, inputs: Region, nodes: dict[str, Node], wanted: bool) -> None:
        self._inputs, self._nodes, self._wanted = inputs, nodes, wanted
        self._guest: Guest | None = None

    def guest(self) -> Guest | None:
        """The guest; None: none is wanted.

        :raises AssertionError: it cannot be made; what there is of it is removed
        """
        if self._wanted and self._guest is None:
            made = Guest(self._inputs, self._nodes)
            try:
                made.make()
            except BaseException:
                made.remove()
                raise
            self._guest = made
        return self._guest

    def remove(self) -> None:
        """Remove the guest; a test that needs one makes another."""
        guest, self._guest = self._guest, None
        if guest is not None:
            guest.remove()
