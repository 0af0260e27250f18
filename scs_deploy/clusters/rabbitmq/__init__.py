# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ: brokers that share a metadata store, and quorum queues that have their own replicas."""

from __future__ import annotations

from scs_deploy.clusters.rabbitmq.driver import Driver

__all__ = ["Driver"]
