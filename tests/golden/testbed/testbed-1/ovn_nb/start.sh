#!/bin/sh
# A member of the northbound database's raft cluster: the first host creates it, the others join.
set -eu
exec /usr/share/ovn/scripts/ovn-ctl run_nb_ovsdb \
  --db-nb-addr=172.30.0.11 --db-nb-create-insecure-remote=yes \
  --db-nb-cluster-local-addr=172.30.0.11 \
  --db-nb-election-timer=4000 \
  --ovn-nb-log="-vconsole:info -vfile:off -vsyslog:off"
