#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Removes what users deleted from Barbican's database, once it was deleted long enough ago.

  barbican_clean.py serve    every `interval` seconds of barbican_clean.json
  barbican_clean.py once     now
  barbican_clean.py check    exits 0 if the last time was not too long ago

Barbican keeps an order after the key that it made was deleted, and that key's rows because of the order: such orders
are deleted first. Secrets that have expired are deleted, too: users no longer see them. Barbican's own option for that
renews the time at which the rows of such a secret were deleted, but not that of the secret, which the database then
refuses to remove.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

DONE = Path("/tmp/cleaned")
RETRY = 600  # seconds after a failure
FIRST = 300  # seconds after the start


@dataclass(frozen=True)
class Settings:
    """barbican_clean.json. Times are in seconds."""

    rank: int  # of this host among those that clean
    hosts: int
    days: int
    interval: int

    def first(self) -> float:
        """The delay of the first time: hosts do not clean at the same one."""
        return min(FIRST, self.interval / 2) + self.rank * self.interval / max(self.hosts, 1)

    def late(self, since: float) -> bool:
        """Whether something is wrong if the last time, or the start, was so many seconds ago."""
        return since > self.first() + 2 * self.interval + 2 * RETRY


def settings() -> Settings:
    return Settings(**json.loads(Path(__file__).with_name("barbican_clean.json").read_text(encoding="utf-8")))


def delete_unseen() -> tuple[int, int]:
    """Delete secrets that have expired, and orders whose secret or container was deleted. Returns the numbers."""
    from barbican.model import models, repositories
    from oslo_utils import timeutils
    from sqlalchemy import and_, or_

    repositories.setup_database_engine_and_factory()
    session = repositories.get_session()
    query = session.query(models.Secret).filter(models.Secret.deleted.is_(False))
    secrets = query.filter(models.Secret.expiration <= timeutils.utcnow()).all()
    for secret in secrets:
        secret.delete(session)
    session.flush()
    gone = or_(
        and_(models.Order.secret_id == models.Secret.id, models.Secret.deleted),
        and_(models.Order.container_id == models.Container.id, models.Container.deleted),
    )
    query = session.query(models.Order).filter(models.Order.deleted.is_(False))
    query = query.outerjoin(models.Secret, models.Order.secret_id == models.Secret.id)
    query = query.outerjoin(models.Container, models.Order.container_id == models.Container.id).filter(gone)
    orders = query.all()
    for order in orders:
        order.delete(session)
    repositories.commit()
    repositories.clear()
    return len(secrets), len(orders)


def clean(days: int) -> None:
    """Delete and remove.

    :raises Exception: the database does not answer
    """
    secrets, orders = delete_unseen()
    command = ["barbican-manage", "db", "clean", "--min-days", str(days)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        said = " ".join(done.stdout.rpartition("ERROR: ")[2].split())
        raise RuntimeError(f"{' '.join(command)}: {said[:300]}")
    counts = [line for line in done.stdout.splitlines() if "Cleaning of database affected" in line]
    said = counts[-1].rpartition("] ")[2] if counts else "cleaned"
    log(f"{secrets} expired secrets and {orders} orders deleted; {said}")
    DONE.touch()


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def serve(given: Settings) -> None:
    DONE.touch()
    wait = given.first()
    while True:
        time.sleep(wait)
        try:
            clean(given.days)
        except Exception as error:  # noqa: BLE001 - goes on, and the health check tells
            log(f"not cleaned: {' '.join(str(error).split())[:400]}; again in {RETRY} s")
            wait = RETRY
        else:
            wait = given.interval * random.uniform(0.95, 1.05)


def main(arguments: list[str]) -> None:
    if arguments == ["serve"]:
        serve(settings())
    elif arguments == ["once"]:
        clean(settings().days)
    elif arguments == ["check"]:
        if not DONE.exists() or settings().late(time.time() - DONE.stat().st_mtime):
            sys.exit("the database was not cleaned for too long; see the container's log")
    else:
        sys.exit((__doc__ or "").strip())


if __name__ == "__main__":
    main(sys.argv[1:])
