#!/bin/sh
# A member that knows its leader.
ovs-appctl --timeout=5 --target=/run/ovn/ovnsb_db.ctl cluster/status OVN_Southbound \
  | awk '/^Status: cluster member$/ { member = 1 } /^Leader: / && !/unknown/ { leader = 1 } END { exit !(member && leader) }'
