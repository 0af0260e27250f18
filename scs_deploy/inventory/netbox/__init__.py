# SPDX-License-Identifier: Apache-2.0
"""NetBox as an inventory source: read with few requests, mapped by data, checked as a whole."""
