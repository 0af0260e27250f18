# SPDX-License-Identifier: Apache-2.0
"""The foundation: errors, typed files, paths. Imports nothing from other packages of scs."""
