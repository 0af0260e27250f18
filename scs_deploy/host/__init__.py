# SPDX-License-Identifier: Apache-2.0
"""The host below the containers."""
