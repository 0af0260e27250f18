#!/bin/sh
# A member that knows its leader.
. "${0%/*}/database.env"
ovs-appctl --timeout=5 --target="$CTL" cluster/status "$SCHEMA" \
  | awk '/^Status: cluster member$/ { member = 1 } /^Leader: / && !/unknown/ { leader = 1 } END { exit !(member && leader) }'
