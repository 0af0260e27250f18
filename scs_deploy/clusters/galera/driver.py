# SPDX-License-Identifier: Apache-2.0
"""Galera's driver. Members leave when they stop, and the others count only members that are present."""

from __future__ import annotations

from collections.abc import Mapping

from scs_deploy.clusters.base import Answers, ClusterDriver, ClusterState, Procedure, RecoveryOptions, Seen
from scs_deploy.clusters.galera import client, procedure
from scs_deploy.clusters.galera.recovery import SERVICE, GaleraOptions
from scs_deploy.engine.remote import Command

QUERY = (
    "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME IN "
    "('WSREP_LOCAL_STATE', 'WSREP_LOCAL_STATE_COMMENT', 'WSREP_CLUSTER_STATUS', 'WSREP_CLUSTER_SIZE', 'WSREP_READY')"
)
STATUS = Command(container=SERVICE, argv=client.monitor(QUERY), timeout=20)
SYNCED = "Primary Synced"
"""State of a member that has all data and is not a donor."""


class Driver(ClusterDriver):
    """A Galera cluster of MariaDB servers."""

    OPTIONS = GaleraOptions
    replicated = True

    def questions(self, host: str) -> dict[str, Command]:
        """The server's status."""
        return {"status": STATUS} if self.here(host, SERVICE) else {}

    def parse(self, answers: Answers) -> Seen:
        """One cluster."""
        asked = {h: a["status"] for h, a in answers.items() if "status" in a}
        values = {h: parse(a.output) for h, a in asked.items()}
        said = {h: " ".join(a.output.split())[-120:] for h, a in asked.items()}
        state = ClusterState(
            name="Galera",
            service=self.service.name,
            members=self.hosts,
            alive=tuple(h for h, v in values.items() if works(v)),
            wanted=self.hosts,
            dynamic=True,
            says={h: in_words(v) or said[h] for h, v in values.items()},
        )
        return Seen(clusters=(state,))

    def recovery(self, options: RecoveryOptions) -> Procedure:
        """Bootstrap from the newest data."""
        return procedure.GaleraProcedure(GaleraOptions.model_validate(options.model_dump()))


def parse(text: str) -> Mapping[str, str]:
    """Parse the answer to STATUS: uppercase variable: value; empty if the server did not respond."""
    pairs = [line.split("\t") for line in text.splitlines() if line.startswith("WSREP_") and "\t" in line]
    return {p[0].upper(): p[1] for p in pairs}


def works(values: Mapping[str, str]) -> bool:
    """Whether a member of the primary component accepts reads and writes: it is synced, or a donor."""
    return (
        values.get("WSREP_CLUSTER_STATUS") == "Primary"
        and values.get("WSREP_READY") == "ON"
        and values.get("WSREP_LOCAL_STATE") in ("2", "4")
    )


def in_words(values: Mapping[str, str]) -> str:
    """E.g. `Primary Synced`; '' if the server did not respond."""
    return " ".join(filter(None, (values.get("WSREP_CLUSTER_STATUS"), values.get("WSREP_LOCAL_STATE_COMMENT"))))
