#!/bin/sh
# The server answers over TLS, accepts writes and is in the cluster's primary component.
. "${0%/*}/monitor.sh"
monitor '' "SHOW GLOBAL STATUS WHERE (Variable_name = 'wsrep_ready' AND Value = 'ON') OR (Variable_name = 'wsrep_cluster_status' AND Value = 'Primary')" \
  | awk '/^wsrep_/ { found++ } END { exit found != 2 }'
