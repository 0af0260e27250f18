#!/bin/sh
# Connected to both databases; a standby is as good as the active one.
set -eu
ctl() {
  ovn-appctl --timeout=5 --target=/run/ovn/ovn-northd.ctl "$1"
}
ctl status | grep -qE 'active|standby'
[ "$(ctl nb-connection-status)" = connected ]
[ "$(ctl sb-connection-status)" = connected ]
