# SPDX-License-Identifier: Apache-2.0
"""Operations that change a region, one module or package each."""
