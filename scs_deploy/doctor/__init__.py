# SPDX-License-Identifier: Apache-2.0
"""The checks of `scs doctor`: what is wrong with the manager, a region's files and its hosts. They change nothing."""
