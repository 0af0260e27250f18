# SPDX-License-Identifier: Apache-2.0
"""The manager of a Sovereign Cloud Stack region."""

__version__ = "0.1.0"
