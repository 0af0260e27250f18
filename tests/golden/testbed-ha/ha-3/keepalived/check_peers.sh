#!/bin/sh
# This host sees the load balancers of enough others to be part of a majority.
seen=1
nc -z -w 1 172.30.2.11 1936 && seen=$((seen + 1))
nc -z -w 1 172.30.2.12 1936 && seen=$((seen + 1))
[ $seen -gt 1 ]
