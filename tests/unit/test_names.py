"""Names that several rooms write down, each for a reason of its own, are the same everywhere."""

from typing import get_args

from worker.delivery.handler import DeliveryHandler
from worker.kafka import names
from worker.ledger.handler import LedgerHandler
from worker.ops import words
from worker.people.acting import Action
from worker.people.dead_letters import TOPICS
from worker.people.needs import NeedKind


def test_the_lag_that_is_shown_is_of_what_the_workers_read():
    assert {one.role: one.topics for one in (LedgerHandler, DeliveryHandler)} == names.READ


def test_dead_letters_are_looked_for_by_every_topic_that_a_worker_reads():
    assert TOPICS == names.INPUTS


def test_whatever_needs_a_person_has_its_words():
    assert words.NEEDS.keys() == set(get_args(NeedKind))


def test_every_act_has_its_words_and_its_button():
    assert words.ACTS.keys() == words.BUTTONS.keys() == set(get_args(Action))
