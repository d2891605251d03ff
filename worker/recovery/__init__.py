"""After a restore from a backup that is older than Kafka: the database takes back what the topics know."""
