#!/bin/sh
# Bootstraps the cluster when the marker says so, once, or after a full stop that this member was the last one to leave;
# joins it otherwise.
set -eu
here=${0%/*}
. "$here/cluster.sh"
. "$here/monitor.sh"
memory=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
# within VALUE MINIMUM MAXIMUM
within() {
  value=$1
  [ "$value" -ge "$2" ] || value=$2
  [ "$value" -le "$3" ] || value=$3
  echo "$value"
}
# What the configuration sets, also by an override, is not the host's to decide.
unset_in_configuration() {
  ! grep -q "^$1 *=" "$here/server.cnf"
}
# It did not end in good order: InnoDB knows how far it came. The others need to send only what is missing, and a cluster
# that begins from here goes on with its history: else every member would be copied anew.
recovered_position() {
  mariadbd --defaults-file="$here/server.cnf" --wsrep-recover --skip-log-error 2>&1 \
    | sed -n 's/.*Recovered position:* *\([0-9a-f-]*:[0-9-]*\).*/\1/p' | tail -n 1
}
# Whether this member, which was the last one to leave, may begin the cluster again: nobody serves, as far as most of all
# hosts can tell. One whose server refuses connections serves nobody; one that listens to other members may be copying
# from somebody that this host does not reach, unless it reaches all.
may_bootstrap() {
  members=1
  down=1
  silent=
  unsure=
  for peer in $PEERS; do
    members=$((members + 1))
    if state=$(monitor "${peer#*=}" 'SELECT 1'); then
      echo "${peer%%=*} serves: this member joins it"
      return 1
    fi
    case $state in
      'refused:'*)
        if nc -z -w 3 "${peer#*=}" 4567; then unsure="$unsure ${peer%%=*}"; else down=$((down + 1)); fi
        ;;
      *) silent="$silent ${peer%%=*}" ;;
    esac
  done
  [ -n "$silent" ] || return 0
  [ $((down * 2)) -le $members ] || return 0
  waits="whether the cluster runs is not known: no answer from$silent${unsure:+, and starting:$unsure}"
  return 2
}
# Hosts that start at the same time as this one answer soon. One that stays silent is not waited for to the end: the
# server then looks for the others by itself, ends without them, and is started again.
last_one_begins() {
  end=$(($(date +%s) + 60))
  said_before=
  while :; do
    may=0
    may_bootstrap || may=$?
    [ $may -eq 2 ] || return $may
    [ "$waits" = "$said_before" ] || echo "$waits"
    said_before=$waits
    [ "$(date +%s)" -lt $end ] || return 1
    sleep 1
  done
}
# It needs a copy of all data. Members that join one by one do not wait for each other's copies, nor does one copy from a
# member that has just come itself; one that is down keeps nobody waiting for long.
wait_for_earlier_members() {
  end=$(($(date +%s) + 60))
  for peer in $EARLIER; do
    until synced "${peer#*=}" 5 || [ "$(date +%s)" -ge $end ]; do
      sleep 0.5
    done
  done
}
# Galera lets go for good of a member whose copy was incomplete or whose data differ, and the server stays up without the
# cluster. Ended, it is started again and joins, with a new copy where it must.
rejoin() {
  times=0
  while sleep 5; do
    case $(monitor '' "SHOW GLOBAL STATUS LIKE 'wsrep_cluster_status'") in
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
set --
connections=$(sed -n 's/^max_connections *= *\([0-9]*\).*/\1/p' "$here/server.cnf" | tail -n 1)
if unset_in_configuration max_connections; then
  connections=$(within $((memory / 16)) 512 8192)
  set -- --max-connections="$connections"
fi
# A service that loses count of its connections leaves some to the others.
if unset_in_configuration max_user_connections && [ "${connections:-0}" -gt 0 ]; then
  set -- "$@" --max-user-connections=$((connections - connections / 4))
fi
if unset_in_configuration wsrep_provider_options; then
  tls="socket.ssl_ca=/etc/scs/tls/ca.crt;socket.ssl_cert=/etc/scs/tls/host.crt;socket.ssl_key=/etc/scs/tls/host.key"
  gcache=${GCACHE_SIZE:-$(within $((memory / 64)) 128 4096)M}
  set -- "$@" --wsrep-provider-options="gmcast.listen_addr=ssl://$ADDRESS:4567;ist.recv_addr=$ADDRESS:4568;$tls;gcache.size=$gcache"
fi
if [ -n "$PEERS" ]; then
  if grep -q '^seqno: *-1' "$DATA/grastate.dat" 2> /dev/null; then
    recovered=$(recovered_position)
    case $recovered in
      '' | 00000000-*) ;;
      *) set -- "$@" --wsrep-start-position="$recovered" ;;
    esac
    echo "starting at ${recovered:-no position that InnoDB knows}"
  fi
  if [ -e "$DATA/scs_bootstrap" ]; then
    rm "$DATA/scs_bootstrap"
    set -- "$@" --wsrep-new-cluster
  elif grep -q '^safe_to_bootstrap: 1' "$DATA/grastate.dat" 2> /dev/null && last_one_begins; then
    set -- "$@" --wsrep-new-cluster
  fi
  if [ ! -e "$DATA/grastate.dat" ] && [ ! -e "$DATA/scs_initialized" ]; then
    wait_for_earlier_members
  fi
  rejoin &
else
  rm -f "$DATA/scs_bootstrap"
  # The only member is always the most advanced one, also after a crash.
  [ ! -e "$DATA/grastate.dat" ] || sed -i 's/^safe_to_bootstrap: 0/safe_to_bootstrap: 1/' "$DATA/grastate.dat"
fi
exec mariadbd --defaults-file="$here/server.cnf" "$@"
