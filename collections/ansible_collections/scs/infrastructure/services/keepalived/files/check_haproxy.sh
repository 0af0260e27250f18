#!/bin/sh
# HAProxy's worker answers on its socket.
echo 'show info' | nc -N -U -w 3 /run/scs/haproxy/admin.sock | grep -q '^Uptime_sec:'
