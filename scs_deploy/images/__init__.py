# SPDX-License-Identifier: Apache-2.0
"""Container images: recipes, builds, and the region's registry."""
