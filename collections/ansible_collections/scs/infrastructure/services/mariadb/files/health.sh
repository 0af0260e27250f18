#!/bin/sh
# The server answers over TLS, accepts writes and is in the cluster's primary component.
mariadb --defaults-file=/etc/mysql/monitor.cnf --batch --skip-column-names --execute \
  "SHOW GLOBAL STATUS WHERE (Variable_name = 'wsrep_ready' AND Value = 'ON') OR (Variable_name = 'wsrep_cluster_status' AND Value = 'Primary')" \
  | awk 'END { exit NR != 2 }'
