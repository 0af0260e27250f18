# SPDX-License-Identifier: Apache-2.0
"""Rotation of secrets and certificates, step by step, each of which may be repeated."""
