# SPDX-License-Identifier: Apache-2.0
"""The checks, one module per subject. Importing this package registers them in execution order."""

from scs_deploy.validate.checks import api, services, resources, server, hypervisors  # noqa: F401, I001 - execution order
