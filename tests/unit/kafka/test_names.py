"""Names of topics are the same in every package that writes them down."""

from worker.delivery.handler import DeliveryHandler
from worker.kafka import names
from worker.ledger.handler import LedgerHandler
from worker.people.dead_letters import TOPICS


def test_lag_is_shown_for_the_topics_that_the_workers_read():
    assert {handler.role: handler.topics for handler in (LedgerHandler, DeliveryHandler)} == names.READ


def test_dead_letters_can_be_filtered_by_every_topic_that_a_worker_reads():
    assert TOPICS == names.INPUTS
