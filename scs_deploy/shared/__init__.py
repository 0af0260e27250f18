# SPDX-License-Identifier: Apache-2.0
"""State that a region's hosts share: database, message broker, Keystone's accounts and catalogue."""
