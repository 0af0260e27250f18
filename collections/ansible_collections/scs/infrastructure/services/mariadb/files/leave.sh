#!/bin/sh
# The load balancers send new sessions to another member. Those that do nothing are ended here, and their clients open
# new ones there; one that has begun a transaction finishes it first, within limits.
sql() {
  mariadb --defaults-file=/etc/mysql/client.cnf --batch --skip-column-names "$@"
}
clients="FROM information_schema.PROCESSLIST p LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID
  WHERE p.USER NOT IN ('root', 'monitor', 'sst', 'system user')"
# In the server, and each session is looked at once more before it ends: one that was idle a moment ago may be at work.
# Those that are never idle for long are not waited for to the end.
end_idle() {
  sql --delimiter=// --execute "BEGIN NOT ATOMIC
    DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
    FOR idle IN (SELECT p.ID $clients AND p.COMMAND = 'Sleep' AND p.TIME_MS >= $1 AND t.trx_id IS NULL) DO
      IF EXISTS (SELECT 1 FROM information_schema.PROCESSLIST
                 WHERE ID = idle.ID AND COMMAND = 'Sleep' AND TIME_MS >= $1) THEN
        EXECUTE IMMEDIATE CONCAT('KILL ', idle.ID);
      END IF;
    END FOR;
  END//"
}
begin=$(date +%s)
while elapsed=$(($(date +%s) - begin)) && [ $elapsed -lt 20 ]; do
  end_idle $((elapsed < 10 ? 1000 : 20))
  [ "$(sql --execute "SELECT COUNT(*) $clients")" = 0 ] && exit 0
  sleep 0.5
done
