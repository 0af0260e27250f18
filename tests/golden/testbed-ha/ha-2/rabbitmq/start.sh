#!/bin/sh
# Erlang demands a cookie that only its owner can read.
set -eu
umask 077
rm -f /var/lib/rabbitmq/.erlang.cookie
cat /etc/rabbitmq/erlang_cookie > /var/lib/rabbitmq/.erlang.cookie
chmod 0400 /var/lib/rabbitmq/.erlang.cookie
umask 027
# A cluster that remembers a member of this name does not take one that remembers nothing: it must forget first.
if [ -z "$(ls -A /var/lib/rabbitmq/mnesia 2> /dev/null)" ]; then
  if nc -z -w 3 172.30.2.11 25672; then
    if rabbitmqctl --quiet --timeout 30 --node rabbit@ha-1 forget_cluster_node rabbit@ha-2 2> /tmp/forget; then
      echo "rabbit@ha-1 forgot an earlier rabbit@ha-2"
    fi
  fi
  if nc -z -w 3 172.30.2.13 25672; then
    if rabbitmqctl --quiet --timeout 30 --node rabbit@ha-3 forget_cluster_node rabbit@ha-2 2> /tmp/forget; then
      echo "rabbit@ha-3 forgot an earlier rabbit@ha-2"
    fi
  fi
fi
/etc/rabbitmq/rejoin.sh $$ &
exec /usr/lib/rabbitmq/bin/rabbitmq-server
