#!/bin/sh
# Whether the cluster can do without this member: most of all members are Synced without it. One that does not work
# itself is missed by nobody.
/etc/mysql/health.sh > /dev/null 2>&1 || exit 0
synced=0
missing=
