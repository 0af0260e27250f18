# SPDX-License-Identifier: Apache-2.0
"""A host's network from its `links`: rendered here, tried on the host, kept if the manager still reaches the host."""
