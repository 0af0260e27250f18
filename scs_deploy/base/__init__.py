# SPDX-License-Identifier: Apache-2.0
"""What everything stands on: errors, typed files, paths. Imports nothing above."""
