#!/bin/sh
# Joins the cluster again after a partition that the broker did not notice in time to pause: a node that was frozen or
# cut off may find its connections back the moment it learns that they were lost, and stays partitioned for ever.
# https://www.rabbitmq.com/docs/partitions#suspend
# Whenever a member has come or gone, also removes the queues that it left dead: dead_queues.erl.
set -u
server=$1
alone=0
seen=''
looks=0
sweep() {
  timeout 60 rabbitmqctl --quiet --timeout 50 eval "$(cat /etc/rabbitmq/dead_queues.erl)" 2> /dev/null | grep -v '^ok$'
}
while sleep 10 && kill -0 "$server"; do
  # A broker that paused, starts or is stopped answers nothing.
  nodes=$(curl --config /etc/rabbitmq/nodes.curl 2> /dev/null) || nodes=
  members=$(echo "$nodes" | grep -o '"name"' | wc -l)
  running=$(echo "$nodes" | grep -o '"running":true' | wc -l)
  if [ "$nodes" != "$seen" ]; then
    seen=$nodes
    looks=12
  fi
  if [ "$looks" -gt 0 ]; then
    looks=$((looks - 1))
    # soon, and again when clients have noticed, too
    case $looks in
      10 | 6 | 0) sweep & ;;
    esac
  fi
  if [ "$members" -eq 0 ] || [ $((running * 2)) -gt "$members" ]; then
    alone=0
    continue
  fi
  alone=$((alone + 1))
  [ "$alone" -gt 1 ] || continue
  echo "rejoin: works on with $running of $members members running, no majority: starts anew and joins them"
  alone=0
  if ! { timeout 60 rabbitmqctl --quiet stop_app && timeout 120 rabbitmqctl --quiet start_app; }; then
    echo "rejoin: it does not; its process ends and the engine starts it again"
    kill -KILL "$server"
  fi
done
