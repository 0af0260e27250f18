#!/bin/sh
# Passes the southbound database on to chassis.
set -eu
umask 027
rm -f /run/ovn/ovn_sb_relay.sock /run/ovn/ovn_sb_relay.ctl
# The server opens its configuration for writing.
cp "${0%/*}/relay.json" /run/ovn/ovn_sb_relay.json
exec ovsdb-server --config-file=/run/ovn/ovn_sb_relay.json --unixctl=/run/ovn/ovn_sb_relay.ctl \
  --private-key=/etc/scs/tls/host.key --certificate=/etc/scs/tls/host.crt --ca-cert=/etc/scs/tls/ca.crt \
  -vconsole:info -vfile:off -vsyslog:off
