"""The embedded stack: a real Kafka broker and a real PostgreSQL on loopback, with all their data in one folder.

This package is not imported where the settings name a Kafka and a PostgreSQL.
"""

from worker.stack.broker import TOOLS
from worker.stack.control import StackEnv, down, environment, kafka_tool, status, up
from worker.stack.errors import StackError
from worker.stack.service import ServiceStatus

__all__ = ["TOOLS", "ServiceStatus", "StackEnv", "StackError", "down", "environment", "kafka_tool", "status", "up"]
