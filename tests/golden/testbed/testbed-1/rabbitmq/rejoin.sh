#!/bin/sh
# Joins the cluster again after a partition that the broker did not notice in time to pause: a node that was frozen for
# longer than the others wait finds all connections back when it goes on, and stays partitioned for ever.
# https://www.rabbitmq.com/docs/partitions#suspend
set -u
umask 077
members=1
server=$1
while sleep 10 && kill -0 "$server"; do
  cut=$(curl --config /etc/rabbitmq/partitions.curl 2> /dev/null | grep -o rabbit@ | wc -l)
  # the side with the majority stays as it is
  [ $(((members - cut) * 2)) -gt "$members" ] && continue
  echo "rejoin: partitioned from $cut of $((members - 1)) members: this broker starts anew and joins them"
  if ! { timeout 60 rabbitmqctl --quiet stop_app && timeout 120 rabbitmqctl --quiet start_app; }; then
    echo "rejoin: it does not; its process ends and the engine starts it again"
    kill -KILL "$server"
  fi
done
