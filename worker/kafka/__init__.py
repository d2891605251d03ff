"""The one package that uses aiokafka: source, sink, topics, CloudEvents envelopes, dead letters."""
