"""Reading and writing Kafka: source, sink, topics, CloudEvents envelopes, dead letters."""
