# SPDX-License-Identifier: Apache-2.0
"""All inputs of a region, loaded and checked together."""
