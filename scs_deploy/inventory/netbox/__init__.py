# SPDX-License-Identifier: Apache-2.0
"""NetBox as an inventory source: few requests, a mapping in YAML, and checks of the whole result."""
