# SPDX-License-Identifier: Apache-2.0
"""The project's vocabulary: services, the catalog, releases, users of images. No input or output but loading."""
