"""All metrics of the workers. `docs/metrics.md` lists them; a test compares the two.

Labels are bounded: topics and reasons by the contract, partitions by a setting, connectors by the connectors file.
"""

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# A capture may wait for hours for a connector that is away.
LONG_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120, 600, 3_600, 21_600, 86_400)

# Fates: applied, duplicate, parked, dead_lettered, and internal, a dead letter of a record that the database refused.
facts_total = Counter(
    "settlement_facts_total", "Consumed records, each counted once, by what became of it (I7)", ["topic", "fate"]
)
misplaced_total = Counter(
    "settlement_misplaced_total", "Facts that arrived in a partition that is not their order's", ["topic"]
)
events_total = Counter("settlement_events_total", "What happened to orders, by type of event", ["type"])
consumer_lag = Gauge(
    "settlement_consumer_lag_records",
    "Records of an owned partition whose fate is not durable yet",
    ["topic", "partition"],
)
fact_delay_seconds = Histogram(
    "settlement_fact_delay_seconds",
    "From the timestamp of a record to the commit that decided its fate",
    ["topic"],
    buckets=LONG_SECONDS,
)

# Cycles and the outbox
cycle_seconds = Histogram("settlement_cycle_seconds", "One transaction, from its start to its commit", buckets=SECONDS)
cycle_records = Histogram(
    "settlement_cycle_records", "Records of one transaction", buckets=(0, 1, 5, 20, 100, 500, 1000, 2000)
)
publish_seconds = Histogram("settlement_publish_seconds", "From commit to Kafka's acknowledgement", buckets=SECONDS)
outbox_rows = Gauge("settlement_outbox_rows", "Committed rows of the outbox that Kafka has not acknowledged yet")
outbox_age_seconds = Gauge("settlement_outbox_age_seconds", "How long the oldest of these rows has waited")

# The worker itself
ready = Gauge("settlement_ready", "1 while the worker reaches Kafka and PostgreSQL")
owned_partitions = Gauge("settlement_owned_partitions", "Partitions this process owns")
alerts = Gauge("settlement_alert", "1 while an alert lasts", ["code", "connector"])

# Commands and the connectors that get them
attempts_total = Counter(
    "settlement_attempts_total", "Requests to connectors that ended, by what they came to", ["connector", "fate"]
)
attempt_seconds = Histogram(
    "settlement_attempt_seconds", "One request to a connector, from start to answer", ["connector"], buckets=SECONDS
)
short_total = Counter("settlement_short_total", "Commands that a connector did only in part (R32)", ["connector"])
commands_in_flight = Gauge("settlement_commands_in_flight", "Requests under way", ["connector"])
invoice_to_capture_seconds = Histogram(
    "settlement_invoice_to_capture_seconds",
    "From the settle command, committed with the invoice that caused it, to the connector's confirmation",
    ["connector"],
    buckets=LONG_SECONDS,
)

# Queried from the tables of owned partitions when somebody looks
dead_letters_open = Gauge(
    "settlement_dead_letters_open", "Dead letters that nobody has replayed or discarded", ["topic", "reason"]
)
parked_facts = Gauge("settlement_parked_facts", "Facts that wait, by what for (R29)", ["waits_for"])
commands_unresolved = Gauge(
    "settlement_commands_unresolved",
    "Commands whose effect is unknown (being asked again), or that a person has to decide, by state",
    ["connector", "state"],
)
commands_unresolved_age_seconds = Gauge(
    "settlement_commands_unresolved_age_seconds",
    "How long the oldest of these commands has been there",
    ["connector", "state"],
)
