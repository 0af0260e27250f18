#!/bin/sh
# Answers one HTTP request: 200 while this member takes reads and writes, 503 with its state otherwise.
# Synced (4), or donor of a copy for a new member (2), which mariabackup does not block.
. "${0%/*}/monitor.sh"
while read -r line && [ "$line" != "$(printf '\r')" ] && [ -n "$line" ]; do :; done
state=$(monitor '' \
  "SELECT GROUP_CONCAT(VARIABLE_NAME, '=', VARIABLE_VALUE ORDER BY VARIABLE_NAME) FROM information_schema.GLOBAL_STATUS
   WHERE VARIABLE_NAME IN ('WSREP_CLUSTER_STATUS', 'WSREP_LOCAL_STATE', 'WSREP_READY')")
case $state in
  WSREP_CLUSTER_STATUS=Primary,WSREP_LOCAL_STATE=[24],WSREP_READY=ON) status='200 OK' ;;
  *) status='503 Service Unavailable' ;;
esac
printf 'HTTP/1.0 %s\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n%s\n' "$status" "$state"
