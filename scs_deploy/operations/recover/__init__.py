# SPDX-License-Identifier: Apache-2.0
"""Brings back clusters that have lost their quorum or a member: MariaDB, RabbitMQ, OVN's databases."""
