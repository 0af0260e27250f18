#!/bin/sh
# The load balancers send new sessions to another member. Those that do nothing are ended here, and their clients open
# new ones there; one that has begun a transaction finishes it first, within limits.
sql() {
  mariadb --defaults-file=/etc/mysql/client.cnf --batch --skip-column-names "$@"
}
clients="FROM information_schema.PROCESSLIST p LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID
  WHERE p.USER NOT IN ('root', 'monitor', 'sst', 'system user')"
end=$(($(date +%s) + 20))
while [ "$(date +%s)" -lt $end ]; do
  sql --execute "SELECT CONCAT('KILL ', p.ID, ';') $clients AND p.COMMAND = 'Sleep' AND t.trx_id IS NULL" | sql --force
  [ "$(sql --execute "SELECT COUNT(*) $clients")" = 0 ] && exit 0
  sleep 0.5
done
