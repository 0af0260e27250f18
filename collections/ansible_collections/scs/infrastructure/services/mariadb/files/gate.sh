#!/bin/sh
# Whether the cluster can do without this member: most of all members are Synced without it, and can take its sessions.
# The others are asked. A member that answers badly is one until they no longer count it.
set -u
here=${0%/*}
. "$here/cluster.sh"
. "$here/monitor.sh"
status() {
  monitor "$1" "SELECT CONCAT(' ', GROUP_CONCAT(VARIABLE_NAME, '=', VARIABLE_VALUE SEPARATOR ' '),
      IF(MAX(IF(VARIABLE_NAME = 'THREADS_CONNECTED', VARIABLE_VALUE + 0, 0)) >= @@max_connections, ' full', ''), ' ')
    FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME IN
      ('WSREP_CLUSTER_STATUS', 'WSREP_LOCAL_STATE', 'WSREP_READY', 'WSREP_INCOMING_ADDRESSES', 'THREADS_CONNECTED')"
}
# serves STATUS: it is in the primary component and has all data
serves() {
  case $1 in
    *' WSREP_LOCAL_STATE='[24]' '*) ;;
    *) return 1 ;;
  esac
  case $1 in
    *' WSREP_READY=ON '*) primary "$1" ;;
    *) return 1 ;;
  esac
}
primary() {
  case $1 in
    *' WSREP_CLUSTER_STATUS=Primary '*) ;;
    *) return 1 ;;
  esac
}
# counts STATUS: a member of the primary component knows this member as one of it
counts() {
  primary "$1" || return 1
  case $1 in
    *[=,]"$ADDRESS":* | *[=,]"[$ADDRESS]":*) ;;
    *) return 1 ;;
  esac
}
members=1
able=0
others=
counted=
lacking=
for peer in $PEERS; do
  members=$((members + 1))
  state=$(status "${peer#*=}")
  ! primary "$state" || others=yes
  ! counts "$state" || counted=yes
  if ! serves "$state"; then
    case $state in
      *' WSREP_CLUSTER_STATUS='*) why='is not Synced' ;;
      *) why='does not answer' ;;
    esac
  elif [ "${state% full }" != "$state" ]; then
    why='is out of connections'
  else
    able=$((able + 1))
    continue
  fi
  lacking="$lacking${lacking:+, }${peer%%=*} $why"
done
needed=$((members / 2 + 1))
if [ $members -eq 1 ] || [ $able -ge $needed ]; then
  exit 0
fi
if [ -z "$counted" ]; then
  own=$(status "$ADDRESS")
  case $own in
    *' WSREP_CLUSTER_STATUS=Primary '*) ;;
    # it serves nobody: it starts, or belongs to no primary component
    *' WSREP_CLUSTER_STATUS='* | 'refused:'*) exit 0 ;;
    # it does not tell: the others go on without it
    *) [ -z "$others" ] || exit 0 ;;
  esac
fi
echo "$lacking; $needed of $members members must be Synced and take connections without this one"
exit 1
