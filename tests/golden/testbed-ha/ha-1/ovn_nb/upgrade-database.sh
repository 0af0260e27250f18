#!/bin/sh
# Converts the database when this image brings a newer schema: once for all members.
set -eu
server=unix:/run/ovn/ovnnb_db.sock
schema=/usr/share/ovn/ovn-nb.ovsschema
ovsdb-client --timeout=60 wait $server OVN_Northbound connected
has=$(ovsdb-client --timeout=30 get-schema-version $server OVN_Northbound)
wants=$(ovsdb-tool schema-version $schema)
if ovsdb-tool compare-versions "$has" '<' "$wants"; then
  ovsdb-client --timeout=120 convert $server $schema
fi
echo "the schema is $wants (was $has)"
