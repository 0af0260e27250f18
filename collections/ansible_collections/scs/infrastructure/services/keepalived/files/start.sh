#!/bin/sh
# start.sh INTERNAL EXTERNAL: runs keepalived, which holds these API addresses.
# A container that takes the place of another one keeps the addresses that it finds here: with an owner's priority it is
# their master at once, before the other hosts miss the old one's advertisements. Seconds later all are equal again.
set -eu
internal=$1 external=$2
start=/run/keepalived/start.conf
stay=/run/scs/haproxy/stay
kept() {
  [ -n "$(find $stay -newermt '10 seconds ago' 2> /dev/null)" ] && ip -oneline address show to "$1" | grep -q .
}
begin() {
  if kept "$2"; then
    printf '$%s_STATE=MASTER\n$%s_PRIORITY=255\n' "$1" "$1"
  else
    printf '$%s_STATE=BACKUP\n$%s_PRIORITY=100\n' "$1" "$1"
  fi
}
{
  begin INTERNAL "$internal"
  begin EXTERNAL "$external"
} > $start
if grep -q MASTER $start; then
  (
    (
      sleep 5
      sed -i 's/MASTER/BACKUP/; s/255/100/' $start
      kill -HUP $$
    ) &
  )
fi
rm -f $stay
# An address that it was told to hold before, and is not any more
ip -oneline address show | awk '/ proto (0x12|keepalived) / { print $2, $4 }' | while read -r interface address; do
  case $address in
    "$internal"/* | "$external"/*) ;;
    *) ip address del "$address" dev "$interface" ;;
  esac
done
exec keepalived --dont-fork --log-console --use-file /etc/keepalived/keepalived.conf
