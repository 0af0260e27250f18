#!/bin/sh
# Converts the database when this image brings a newer schema: once for all members.
set -eu
. "${0%/*}/database.env"
server=unix:$SOCKET
definition=/usr/share/ovn/ovn-$NAME.ovsschema
ovsdb-client --timeout=60 wait "$server" "$SCHEMA" connected
has=$(ovsdb-client --timeout=30 get-schema-version "$server" "$SCHEMA")
wants=$(ovsdb-tool schema-version "$definition")
if ovsdb-tool compare-versions "$has" '<' "$wants"; then
  ovsdb-client --timeout=120 convert "$server" "$definition"
fi
echo "the schema is $wants (was $has)"
