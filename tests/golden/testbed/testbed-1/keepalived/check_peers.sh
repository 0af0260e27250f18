#!/bin/sh
# This host sees the load balancers of enough others to be part of a majority.
seen=1
[ $seen -gt 0 ]
