#!/bin/sh
# Connected to the southbound database, and the integration bridge exists.
set -eu
[ "$(ovn-appctl --timeout=5 --target=/run/ovn/ovn-controller.ctl connection-status)" = connected ]
ovs-vsctl --timeout=5 --no-wait br-exists br-int
