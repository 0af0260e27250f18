# SPDX-License-Identifier: Apache-2.0
"""One connection to Ceph's monitors and manager, for the programs beside this one.

Source: librados (Python), https://docs.ceph.com/en/tentacle/rados/api/python/
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import rados

CONNECT, ANSWER = 8, 12
"""Seconds for a connection and for one answer."""
OURS = "scs/noout/"
"""Begins the config-key of each host for which a program or the manager set noout; an operator's has none."""
FENCED = "scs/fence/"
"""Begins the config-key of each host that the manager shut out of the cluster; its value has the host's addresses."""


class AskError(Exception):
    """The cluster does not answer, or refuses; in its words."""


class Ceph:
    """A connection.

    :param name: of the client, e.g. client.admin
    :param keyring: its file; empty: where ceph.conf has it
    :param monitors: only these are asked, e.g. `[v2:192.0.2.1:3300]`; empty: all
    :raises AskError: no quorum answers in time
    """

    def __init__(self, name: str, keyring: str = "", monitors: Sequence[str] = (), conf: str = "/etc/ceph/ceph.conf"):
        own = {"client_mount_timeout": str(CONNECT), "rados_mon_op_timeout": str(ANSWER), "log_to_stderr": "false"}
        if keyring:
            own["keyring"] = keyring
        if monitors:
            own["mon_host"] = ",".join(monitors)
        try:
            self._rados = rados.Rados(conffile=conf, name=name, conf=own)
            self._rados.connect(timeout=CONNECT)
        except rados.Error as error:
            raise AskError(f"no quorum of monitors answers ({error})") from None

    def __enter__(self) -> Ceph:
        return self

    def __exit__(self, *_: object) -> None:
        self._rados.shutdown()

    def monitors(self, prefix: str, **arguments: Any) -> Any:
        """What the monitors answer: JSON, or text that is none."""
        return self._ask(self._rados.mon_command, prefix, arguments)

    def raw(self, prefix: str, given: bytes = b"", **arguments: Any) -> bytes:
        """What the monitors answer, as it is.

        :param given: what the command reads: secrets are none of its words, which Ceph logs
        """
        return self._bytes(self._rados.mon_command, prefix, arguments, given)

    def manager(self, prefix: str, **arguments: Any) -> Any:
        """What the active manager answers."""
        return self._ask(self._rados.mgr_command, prefix, arguments)

    def _ask(self, command: Any, prefix: str, arguments: dict[str, Any]) -> Any:
        output = self._bytes(command, prefix, {"format": "json", **arguments}, b"")
        try:
            return json.loads(output)
        except ValueError:
            return output.decode(errors="replace")

    def _bytes(self, command: Any, prefix: str, arguments: dict[str, Any], given: bytes) -> bytes:
        try:
            code, output, said = command(json.dumps({"prefix": prefix, **arguments}), given, timeout=ANSWER)
        except rados.Error as error:
            raise AskError(f"ceph {prefix}: no answer ({error})") from None
        if code:
            raise AskError(f"ceph {prefix}: {said or f'error {code}'}")
        return bytes(output)
