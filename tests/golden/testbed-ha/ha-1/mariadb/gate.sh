#!/bin/sh
# Whether the cluster can do without this member: most of all members are Synced without it. One that does not work
# itself is missed by nobody.
/etc/mysql/health.sh > /dev/null 2>&1 || exit 0
synced=0
missing=
if curl --fail --silent --output /dev/null --max-time 10 http://172.30.2.12:4569/; then
  synced=$((synced + 1))
else
  missing="$missing ha-2"
fi
if curl --fail --silent --output /dev/null --max-time 10 http://172.30.2.13:4569/; then
  synced=$((synced + 1))
else
  missing="$missing ha-3"
fi
if [ $synced -lt 2 ]; then
  echo "not Synced:$missing"
  exit 1
fi
