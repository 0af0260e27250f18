# SPDX-License-Identifier: Apache-2.0
"""Commands that copy a member's data, and unpack, check and install the copy.

Source: MariaDB documentation, "mariadb-backup Overview", "Incremental Backup and Restore with mariadb-backup"
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from scs_deploy.base.errors import ScsError

SQL = ("mariadb", "--defaults-file=/etc/mysql/client.cnf", "--batch", "--skip-column-names", "--raw")

COPY = """
set -o pipefail
mariadb-backup --defaults-file=/etc/mysql/client.cnf --backup --datadir=/var/lib/mysql --target-dir=/tmp \
  --galera-info --stream=mbstream "$@" | gzip -1
"""
"""client.cnf holds the account and its password. A stream needs no disk space on the host."""

IDENTITY = """
cd /var/lib/mysql
stat --format='%i.%W' ibdata1
du --summarize --block-size=1 --exclude=galera.cache . | cut -f 1
"""
"""Inode and birth time, which change with a copy from another member and with a restore. Then the size in bytes."""


EXTRACT = """
set -o pipefail
umask 077
rm -rf "$1"
mkdir -p "$1"
gunzip | mbstream --extract --directory="$1"
"""
"""bash; reads a stream of mariadb-backup."""

PREPARE = """
cd "$1"
mariadb-backup --prepare --target-dir="$1/0"
shift
for step; do
  mariadb-backup --prepare --target-dir="$PWD/0" --incremental-dir="$PWD/$step"
  rm -r "$step"
done
"""
"""sh; `folder 1 2 ...`: applies the log to the full copy, then each incremental one in turn."""

POSITION = 'cd "$1/0" && cat mariadb_backup_galera_info 2> /dev/null || cat xtrabackup_galera_info'


DATA, SOCKET = "/var/lib/mysql", "/run/mysqld/verify.sock"

SERVER = (
    "mariadbd", f"--defaults-file={DATA}/0/backup-my.cnf", f"--datadir={DATA}/0", f"--socket={SOCKET}",
    "--pid-file=/run/mysqld/verify.pid", "--skip-networking", "--skip-grant-tables", "--wsrep-on=OFF",
)  # fmt: skip
"""A server on restored data, in a container without network."""

CLIENT = ("mariadb", "--no-defaults", f"--socket={SOCKET}", "--batch", "--skip-column-names", "--raw", "--execute")

CHECK = ("mariadb-check", "--no-defaults", f"--socket={SOCKET}", "--check", "--silent", "--all-databases")

PROCESS = "mariadbd"

STAGE = "/var/lib/mysql/.scs_restore"
"""In the volume, so that installing the data is a rename."""

SWAP = """
cd /var/lib/mysql
[ -e .scs_restore/0/ibdata1 ]
find . -mindepth 1 -maxdepth 1 ! -name .scs_restore -exec rm -rf {} +
find .scs_restore/0 -mindepth 1 -maxdepth 1 -exec mv -t . {} +
rm -r .scs_restore
# start a new history, so that members with more of the old one are not considered newer
rm -f grastate.dat gvwstate.dat galera.cache backup-my.cnf ./*_backup_* xtrabackup_* donor_galera_info
# administrative accounts: the passwords in the vault may have changed since the backup
sed 's/^CREATE USER/CREATE OR REPLACE USER/' /etc/mysql/init.sql \
  | mariadbd --defaults-file=/etc/mysql/server.cnf --bootstrap --wsrep-on=OFF
touch scs_initialized scs_bootstrap
sync -f .
"""

FORGET = "cd /var/lib/mysql && rm -f grastate.dat gvwstate.dat && sync -f ."
"""A member without a position requests a full copy."""

ROOM = "df --block-size=1 --output=avail /var/lib/mysql | tail -n 1; mariadbd --version"


def extract_argv(folder: str, number: int) -> list[str]:
    """Command that unpacks a link of the chain from its standard input."""
    return ["bash", "-c", EXTRACT, "extract", f"{folder}/{number}"]


def prepare_argv(folder: str, links: int) -> list[str]:
    """Command that turns `<folder>/0` into a data directory."""
    return ["sh", "-ec", PREPARE, "prepare", folder, *(str(n) for n in range(1, links))]


@dataclass
class Log:
    """What a manifest needs from the standard error of mariadb-backup."""

    position: str = ""
    to_lsn: int = -1
    complete: bool = False
    lines: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        """Parse a line."""
        if found := re.search(r"Writing Galera info succeeded with ([0-9a-f-]{36}:-?\d+)", line):
            self.position = found[1]
        elif found := re.search(r"latest check point \(for incremental\): '(\d+)'", line):
            self.to_lsn = int(found[1])
        elif line.endswith("completed OK!"):
            self.complete = True

    def check(self, host: str) -> None:
        """Check the log of a command that succeeded.

        :raises ScsError: it lacks the position or the checkpoint
        """
        if not (self.complete and self.position and self.to_lsn >= 0):
            raise ScsError(
                f"host {host}: mariadb-backup reported no position or checkpoint", f"scs logs mariadb --host {host}"
            )


def base_version(text: str) -> str:
    """`11.8.6-MariaDB` from `11.8.6-MariaDB-0+deb13u1 from Debian`."""
    return "-".join(text.split()[0].split("-")[:2])
