#!/bin/sh
# Prints what memcached answers to a command, e.g. `version`: over TLS, with the password of the services.
set -eu
login=$(head -n 1 /etc/memcached/users | sed 's/:/ /')
printf 'set login 0 0 %d\r\n%s\r\n%s\r\nquit\r\n' "${#login}" "$login" "$2" |
  timeout 10 openssl s_client -quiet -verify_return_error -CAfile /etc/scs/ca.crt -verify_ip "$1" -connect "$1:11212" 2>&1
