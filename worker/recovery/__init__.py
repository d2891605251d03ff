"""Brings a database restored from a backup up to date with Kafka: it takes back what the topics have."""
