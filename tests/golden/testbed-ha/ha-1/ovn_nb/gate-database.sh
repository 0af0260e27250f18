#!/bin/sh
# Whether the others keep their majority without this member. One that does not work itself is missed by nobody.
/etc/scs/ovn/health-database.sh || exit 0
ovs-appctl --timeout=5 --target=/run/ovn/ovnnb_db.ctl cluster/status OVN_Northbound | awk '
  /^Connections:/ { for (i = 2; i <= NF; i++) if ($i ~ /^->/) connected++ }
  /^Servers:/ { list = 1; next }
  list && / at / { members++ }
  END {
    needed = int(members / 2) + 1
    if (members > 1 && connected < needed) {
      print connected + 0 " of " members - 1 " other members are connected, " needed " are needed"
      exit 1
    }
  }'
