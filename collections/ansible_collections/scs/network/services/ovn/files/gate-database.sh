#!/bin/sh
# Whether the others keep their majority without this member. One that does not work itself is missed by nobody.
here=${0%/*}
. "$here/database.env"
"$here/health-database.sh" || exit 0
ovs-appctl --timeout=5 --target="$CTL" cluster/status "$SCHEMA" | awk '
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
