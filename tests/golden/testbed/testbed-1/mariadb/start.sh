#!/bin/sh
# Bootstraps the cluster when the marker says so, once, or after a full stop that this member was the last one to leave;
# joins it otherwise.
set -eu
data=/var/lib/mysql
memory=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
# value minimum maximum
within() {
  value=$1
  [ "$value" -ge "$2" ] || value=$2
  [ "$value" -le "$3" ] || value=$3
  echo "$value"
}
# What the configuration sets, also by an override, is not the host's to decide.
unset_in_configuration() {
  ! grep -q "^$1 *=" /etc/mysql/server.cnf
}
set --
if unset_in_configuration max_connections; then
  set -- --max-connections="$(within $((memory / 16)) 512 8192)"
fi
if unset_in_configuration wsrep_provider_options; then
  gcache=$(within $((memory / 64)) 128 4096)M
  set -- "$@" --wsrep-provider-options="gmcast.listen_addr=ssl://172.30.0.11:4567;ist.recv_addr=172.30.0.11:4568;socket.ssl_ca=/etc/scs/tls/ca.crt;socket.ssl_cert=/etc/scs/tls/host.crt;socket.ssl_key=/etc/scs/tls/host.key;gcache.size=$gcache"
fi
rm -f $data/scs_bootstrap
# The only member is always the most advanced one, also after a crash.
[ ! -e $data/grastate.dat ] || sed -i 's/^safe_to_bootstrap: 0/safe_to_bootstrap: 1/' $data/grastate.dat
exec mariadbd --defaults-file=/etc/mysql/server.cnf "$@"
