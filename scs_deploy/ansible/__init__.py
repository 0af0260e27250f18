# SPDX-License-Identifier: Apache-2.0
"""What the action plugins of scs.core share."""
