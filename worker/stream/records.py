"""A record as it came and a record as it goes."""

from worker.kafka.records import Outgoing, Record

__all__ = ["Outgoing", "Record"]
