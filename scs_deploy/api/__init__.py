# SPDX-License-Identifier: Apache-2.0
"""The page of a region, `scs serve`: a view for operators, and a public one of what its users need to know."""
