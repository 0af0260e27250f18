# SPDX-License-Identifier: Apache-2.0
"""What the operator writes: settings and config overrides of a region."""
