# SPDX-License-Identifier: Apache-2.0
"""What each host shall run, explicit to the last default."""
