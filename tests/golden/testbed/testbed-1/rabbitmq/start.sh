#!/bin/sh
# Erlang demands a cookie that only its owner can read.
set -eu
umask 077
rm -f /var/lib/rabbitmq/.erlang.cookie
cat /etc/rabbitmq/erlang_cookie > /var/lib/rabbitmq/.erlang.cookie
chmod 0400 /var/lib/rabbitmq/.erlang.cookie
umask 027
exec /usr/lib/rabbitmq/bin/rabbitmq-server
