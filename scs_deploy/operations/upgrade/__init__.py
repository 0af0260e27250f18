# SPDX-License-Identifier: Apache-2.0
"""To newer images and to another release."""
