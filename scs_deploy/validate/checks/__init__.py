# SPDX-License-Identifier: Apache-2.0
"""The checks, one module per subject; importing this package registers them in their order."""

from scs_deploy.validate.checks import api, services, resources, server, hypervisors  # noqa: F401, I001 - the order is the checks'
