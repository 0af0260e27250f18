#!/bin/sh
# start.sh NAME PEERS: runs the broker rabbit@NAME. PEERS: the other members, as words name=address.
set -eu
name=$1 peers=$2
# Erlang demands a cookie that only its owner can read.
umask 077
rm -f /var/lib/rabbitmq/.erlang.cookie
cat /etc/rabbitmq/erlang_cookie > /var/lib/rabbitmq/.erlang.cookie
chmod 0400 /var/lib/rabbitmq/.erlang.cookie
umask 027
# A cluster that remembers a member of this name does not take one that remembers nothing: it must forget first.
forget() {
  if nc -z -w 3 "$2" 25672 \
    && rabbitmqctl --quiet --timeout 30 --node "rabbit@$1" forget_cluster_node "rabbit@$name" 2> /tmp/forget; then
    echo "rabbit@$1 forgot an earlier rabbit@$name"
  fi
}
count=0
for peer in $peers; do
  count=$((count + 1))
  if [ -z "$(ls -A /var/lib/rabbitmq/mnesia 2> /dev/null)" ]; then
    forget "${peer%%=*}" "${peer#*=}"
  fi
done
# Of two members that lost each other, neither is a majority.
if [ $count -gt 1 ]; then
  /etc/rabbitmq/rejoin.sh $$ &
fi
exec /usr/lib/rabbitmq/bin/rabbitmq-server
