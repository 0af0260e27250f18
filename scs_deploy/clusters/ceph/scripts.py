# SPDX-License-Identifier: Apache-2.0
"""Shell scripts that run in a new container beside a monitor or an OSD, with its volume."""

from __future__ import annotations

from typing import Final

STORE: Final = """
cd /var/lib/ceph/mon
[ -d "ceph-$1" ] || { echo empty; exit; }
[ -s "ceph-$1/keyring" ] && [ -s "ceph-$1/store.db/CURRENT" ] || { echo damaged; echo 'files are missing'; exit; }
map=/run/ceph/map
# a monitor that runs has its store locked, and tells its map itself
if said=$(ceph-mon --cluster ceph --conf /etc/ceph/daemon.conf --id "$1" --extract-monmap "$map" 2>&1); then
  echo present
  monmaptool --print "$map"
else
  case $said in
    *'While lock file'*) echo present ;;
    *) echo damaged; printf '%s\\n' "$said" | grep . | tail -n 1 ;;
  esac
fi
"""
"""What a monitor's store is: a word, and its map."""

ASIDE: Final = """
cd /var/lib/ceph/mon
[ ! -e "ceph-$1" ] || mv "ceph-$1" "before-recovery-$2"
rm -rf new
ls -d before-recovery-* 2> /dev/null | sort -r | tail -n +3 | xargs -r rm -r
"""
"""Within the volume; the newest two stay."""

ALONE: Final = """
cd /var/lib/ceph/mon
cp -a "ceph-$1" "before-recovery-$2"
ls -d before-recovery-* | sort -r | tail -n +3 | xargs -r rm -r
map=/run/ceph/map
ceph-mon --cluster ceph --conf /etc/ceph/daemon.conf --id "$1" --extract-monmap "$map"
monmaptool --print "$map" | sed -n 's/^.* mon[.]//p' | while read -r name; do
  [ "$name" = "$1" ] || monmaptool --rm "$name" "$map"
done
ceph-mon --cluster ceph --conf /etc/ceph/daemon.conf --id "$1" --inject-monmap "$map"
sync -f "ceph-$1"
"""
"""The map of a store names this monitor only."""

CLEAR: Final = 'rm -rf "$1"; mkdir -m 0700 "$1"'

TAKE: Final = 'rm -rf "$1"; mkdir -m 0700 "$1"; tar --extract --directory "$1"'

COLLECT: Final = """
for osd in /var/lib/ceph/osd/ceph-*; do
  ceph-objectstore-tool --no-mon-config --data-path "$osd" --op update-mon-db --mon-store-path "$1"
done
"""

REBUILD: Final = """
cd /var/lib/ceph/mon
map=/run/ceph/map
# the tool wants a name for each address of its configuration
PYTHONPATH=/etc/ceph python3 -B -c "
from pathlib import Path
from ceph_settings import load
from create_mon import first_map
from start_mon import address
own = load()
first_map(own, Path('$map'))
Path('/run/ceph/one.conf').write_text(f'[global]\\nfsid = {own.fsid}\\nmon_host = {address(own)}\\n')"
said=/run/ceph/said
# it prints keys
CEPH_CONF=/run/ceph/one.conf ceph-monstore-tool rebuild rebuild -- --keyring /etc/ceph/mon.keyring --mon-ids "$1" 2>&1 |
  grep -v -e 'key=' -e rocksdb: > "$said" || true
if ! ceph-kvstore-tool rocksdb rebuild/store.db get monitor magic > /dev/null 2>&1; then
  tail -n 3 "$said"
  exit 1
fi
rm -rf made
mkdir -m 0700 made
mv rebuild/store.db made/store.db
rm -rf rebuild
sed -n '/^[[]mon[.][]]/,/^[[]client/{/^[[]client/!p}' /etc/ceph/mon.keyring > made/keyring
sed -n 's/.*"fsid": "\\(.*\\)".*/\\1/p' /etc/ceph/settings.json > made/cluster
echo rocksdb > made/kv_backend
[ ! -e "ceph-$1" ] || mv "ceph-$1" "before-recovery-$2"
mv made "ceph-$1"
ceph-mon --cluster ceph --conf /etc/ceph/daemon.conf --id "$1" --inject-monmap "$map"
sync -f "ceph-$1"
"""
"""A store made by OSDs gets what they do not know: keys of monitors and operator, and a map of this monitor."""
