# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ: brokers with one metadata store, and quorum queues with replicas of their own."""

from __future__ import annotations

from scs_deploy.clusters.rabbitmq.driver import Driver

__all__ = ["Driver"]
