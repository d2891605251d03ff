"""The embedded stack: a real Kafka broker and a real PostgreSQL on loopback, with all data under one folder.

Nothing of this room is imported by whoever names a Kafka and a PostgreSQL of their own.
"""

from worker.stack.broker import TOOLS
from worker.stack.control import StackEnv, down, environment, kafka_tool, status, up
from worker.stack.errors import StackError
from worker.stack.service import Look

__all__ = ["TOOLS", "Look", "StackEnv", "StackError", "down", "environment", "kafka_tool", "status", "up"]
