#!/bin/sh
# Bootstraps the cluster when the marker says so, once; joins it otherwise.
set -eu
data=/var/lib/mysql
set --
if [ -e $data/scs_bootstrap ]; then
  rm $data/scs_bootstrap
fi
# The only member is always the most advanced one, also after a crash.
[ ! -e $data/grastate.dat ] || sed -i 's/^safe_to_bootstrap: 0/safe_to_bootstrap: 1/' $data/grastate.dat
exec mariadbd --defaults-file=/etc/mysql/server.cnf "$@"
