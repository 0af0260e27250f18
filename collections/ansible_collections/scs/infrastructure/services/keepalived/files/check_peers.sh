#!/bin/sh
# check_peers.sh PORT ADDRESS...: this host sees the load balancers of enough others to be part of a majority.
port=$1
shift
seen=1
for peer in "$@"; do
  nc -z -w 1 "$peer" "$port" && seen=$((seen + 1))
done
[ $seen -gt $((($# + 1) / 2)) ]
