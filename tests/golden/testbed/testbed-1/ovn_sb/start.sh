#!/bin/sh
# A member of the southbound database's raft cluster: the first host creates it, the others join.
set -eu
exec /usr/share/ovn/scripts/ovn-ctl run_sb_ovsdb \
  --db-sb-addr=172.30.0.11 --db-sb-create-insecure-remote=yes \
  --db-sb-cluster-local-addr=172.30.0.11 \
  --db-sb-election-timer=4000 \
  --ovn-sb-log="-vconsole:info -vfile:off -vsyslog:off"
