# SPDX-License-Identifier: Apache-2.0
"""Tests that change a host container; `make host` runs them, they need Docker, root and the image scs/node."""
