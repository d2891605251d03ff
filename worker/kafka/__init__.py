"""Where Kafka is read and written: source, sink, topics, envelopes, headers of dead letters."""
