#!/bin/sh
# Bootstraps the cluster when the marker says so, once, or after a full stop that this member was the last one to leave;
# joins it otherwise.
set -eu
data=/var/lib/mysql
memory=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
# value minimum maximum
within() {
  value=$1
  [ "$value" -ge "$2" ] || value=$2
  [ "$value" -le "$3" ] || value=$3
  echo "$value"
}
# What the configuration sets, also by an override, is not the host's to decide.
unset_in_configuration() {
  ! grep -q "^$1 *=" /etc/mysql/server.cnf
}
set --
if unset_in_configuration max_connections; then
  set -- --max-connections="$(within $((memory / 16)) 512 8192)"
fi
if unset_in_configuration wsrep_provider_options; then
  gcache=$(within $((memory / 64)) 128 4096)M
  set -- "$@" --wsrep-provider-options="gmcast.listen_addr=ssl://172.30.2.13:4567;ist.recv_addr=172.30.2.13:4568;socket.ssl_ca=/etc/scs/tls/ca.crt;socket.ssl_cert=/etc/scs/tls/host.crt;socket.ssl_key=/etc/scs/tls/host.key;gcache.size=$gcache"
fi
if grep -q '^seqno: *-1' $data/grastate.dat 2> /dev/null; then
  # It did not end in good order: InnoDB knows how far it came. The others need to send only what is missing, and a
  # cluster that begins from here goes on with its history: else every member would be copied anew.
  recovered=$(mariadbd --defaults-file=/etc/mysql/server.cnf --wsrep-recover --skip-log-error 2>&1 \
    | sed -n 's/.*Recovered position:* *\([0-9a-f-]*:[0-9-]*\).*/\1/p' | tail -n 1)
  case $recovered in
    '' | 00000000-*) ;;
    *) set -- "$@" --wsrep-start-position="$recovered" ;;
  esac
  echo "starting at ${recovered:-no position that InnoDB knows}"
fi
if [ -e $data/scs_bootstrap ]; then
  rm $data/scs_bootstrap
  set -- "$@" --wsrep-new-cluster
elif grep -q '^safe_to_bootstrap: 1' $data/grastate.dat 2> /dev/null; then
  alone=yes
  ! nc -z -w 3 172.30.2.11 4567 || alone=no
  ! nc -z -w 3 172.30.2.12 4567 || alone=no
  [ $alone = no ] || set -- "$@" --wsrep-new-cluster
fi
if [ ! -e $data/grastate.dat ] && [ ! -e $data/scs_initialized ]; then
  # It needs a copy of all data. Members that join one by one do not wait for each other's copies, nor does one copy from
  # a member that has just come itself; one that is down keeps nobody waiting for long.
  end=$(($(date +%s) + 60))
  until curl --fail --silent --output /dev/null --max-time 5 http://172.30.2.11:4569/ || [ "$(date +%s)" -ge $end ]; do
    sleep 0.5
  done
  until curl --fail --silent --output /dev/null --max-time 5 http://172.30.2.12:4569/ || [ "$(date +%s)" -ge $end ]; do
    sleep 0.5
  done
fi
# Galera lets go for good of a member whose copy was incomplete or whose data differ, and the server stays up without the
# cluster. Ended, it is started again and joins, with a new copy where it must.
rejoin() {
  times=0
  while sleep 5; do
    case $(mariadb --defaults-file=/etc/mysql/monitor.cnf --batch --skip-column-names --execute \
      "SHOW GLOBAL STATUS LIKE 'wsrep_cluster_status'" 2> /dev/null) in
      *Disconnected) times=$((times + 1)) ;;
      *) times=0 ;;
    esac
    if [ $times -ge 3 ]; then
      echo "the cluster let go of this member: ending the server, to join again"
      kill -TERM $$
      times=0
    fi
  done
}
rejoin &
exec mariadbd --defaults-file=/etc/mysql/server.cnf "$@"
