"""The one place that knows aiokafka: source, sink, topics, envelopes, headers of dead letters."""
