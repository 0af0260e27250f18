#!/bin/sh
# Creates or mends the administrator, its roles and the Identity entry of the catalogue.
# The password reaches keystone-manage through its process environment only: not as an argument, not as the container's.
set -eu
OS_BOOTSTRAP_PASSWORD=$(cat /etc/keystone/admin_password)
export OS_BOOTSTRAP_PASSWORD
exec keystone-manage bootstrap --bootstrap-username admin --bootstrap-project-name admin --bootstrap-role-name admin "$@"
