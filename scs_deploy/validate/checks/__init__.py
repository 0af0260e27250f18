# SPDX-License-Identifier: Apache-2.0
"""The checks, one module per subject. Importing this package registers them in execution order."""

# fmt: off
from scs_deploy.validate.checks import api, services, secrets, storage, monitoring, objects, resources  # noqa: F401, I001 - execution order
from scs_deploy.validate.checks import server, volumes, volume_types, hypervisors, reachability  # noqa: F401 - execution order
# fmt: on
