"""Bad input: no record stops a partition, raises or is lost, and each rejected one becomes a dead letter."""

import asyncio
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.contract.emitted import complaints
from tests.corpus.bad_input import AUTHORIZED, CARD, INVOICE, ORDER, TYPES, Case, _binary, corpus
from tests.integration.ledger.harness import LedgerHarness
from tests.integration.stream.deployment import PARTITIONS, StreamDeployment
from tests.measured import facts
from worker.kafka import names
from worker.kafka.packing import pack
from worker.kafka.records import Outgoing, Record
from worker.ledger.checking import run_audit
from worker.ledger.handler import LedgerHandler
from worker.postgres.connecting import connect
from worker.stream.control import Control
from worker.stream.runner import Runner

FUZZ_ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "3"))
FUZZ_SEED = int(os.environ.get("FUZZ_SEED", "0"))
ROUND_EXAMPLES = 50
TOPICS = (names.INVOICES, names.ORDER_CHANGES, names.OUTCOMES)
FATES = ("applied", "duplicate", "parked", "dead_lettered", "internal")
OPENED = [
    Case("order", names.ORDER_CHANGES, *_binary("order.authorized", AUTHORIZED), ""),
    Case("sale", names.INVOICES, *_binary("invoice.issued", INVOICE | {"invoiceNumber": "taken"}), ""),
]


def fates() -> Counter[tuple[str, str]]:
    """The number of facts counted so far, by topic and fate."""
    return Counter({
        (topic, fate): int(facts(topic, fate))
        for topic in TOPICS for fate in FATES
    })  # fmt: skip


def source(dead: Record | Outgoing) -> tuple[str, int, int]:
    """Topic, partition and offset of a dead letter's record, from its headers."""
    headers = dict(dead.headers)
    offset = int.from_bytes(headers["kafka_dlt-original-offset"], "big")
    return dead.topic.removesuffix("-dlt"), int(headers["__connect.errors.partition"]), offset


def reason(dead: Record | Outgoing) -> str:
    return dict(dead.headers)["kafka_dlt-exception-fqcn"].decode()


async def send(deployment: StreamDeployment, cases: list[Case]) -> dict[tuple[str, int, int], Case]:
    """Sends each case to a random partition, as a producer without keys does; the cases by their places."""
    dice, waiting = random.Random(5), []
    for case in cases:
        partition = dice.randrange(PARTITIONS)
        acks = await deployment.sink.queue(
            pack([Outgoing(case.topic, partition, b"any key", case.value, case.headers)])
        )
        waiting.append((case, partition, acks[0][2]))
    return {(case.topic, partition, (await ack).offset): case for case, partition, ack in waiting}


async def test_every_bad_record_becomes_an_exact_dead_letter_and_the_next_order_is_served(
    deployment: StreamDeployment, caplog: pytest.LogCaptureFixture
):
    before = fates()
    control = Control(deployment.settings)
    runner = Runner(LedgerHandler(control), control)
    running = asyncio.create_task(runner.run())
    for case in OPENED:
        await send(deployment, [case])
        await deployment.until(lambda: deployment.database.fetchval("SELECT opened FROM ledger.orders"), "the order")

    sent = await send(deployment, corpus())
    dead: dict[tuple[str, int, int], Record] = {}

    async def consumed() -> bool:
        rows = await deployment.database.fetch("SELECT sum(records) FROM ledger.consumed")
        return rows[0][0] >= len(sent) + len(OPENED)

    await deployment.until(consumed, "every record consumed")
    await deployment.until_quiet()
    good = json.dumps(AUTHORIZED | {"orderId": "next", "value": 5, "payments": [CARD | {"paymentId": "n"}]})
    await send(deployment, [Case("n", names.ORDER_CHANGES, good.encode(), _binary("order.authorized", {})[1], "")])
    opened = "SELECT opened FROM ledger.orders WHERE order_id = 'next'"
    await deployment.until(lambda: deployment.database.fetchval(opened), "the next order")

    async def all_read() -> bool:
        dead.update({source(record): record for record in deployment.outputs if record.topic.endswith("-dlt")})
        return len(dead) >= await deployment.database.fetchval("SELECT count(*) FROM ledger.dead_letters")

    await deployment.until(all_read, "the dead letters on their topics")
    assert [sent[place].name for place in sent.keys() - dead.keys()] == []
    assert dead.keys() == sent.keys()
    wrong = {case.name: reason(dead[place]) for place, case in sent.items() if reason(dead[place]) != case.reason}
    assert wrong == {}
    for place, case in sent.items():
        letter = dead[place]
        assert (letter.key, letter.value, letter.partition) == (b"any key", case.value, place[1])
        assert letter.headers[: len(case.headers)] == case.headers
    assert complaints(dead.values()) == []
    rows = await deployment.database.fetch('SELECT topic, partition, "offset", reason, value FROM ledger.dead_letters')
    assert {tuple(row)[:3]: (row["reason"], row["value"]) for row in rows} == {
        place: (case.reason, case.value) for place, case in sent.items()
    }  # fmt: skip
    counted = fates() - before
    assert sum(counted.values()) == len(sent) + len(OPENED) + 1
    assert sum(number for (_, fate), number in counted.items() if fate == "dead_lettered") == len(sent)
    assert not any(line.exc_info or "Traceback" in line.message for line in caplog.records)
    assert (await run_audit(deployment.settings))["findings"] == []
    runner.stop()
    await running


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**66), 2**66), st.floats(), st.text(max_size=8), st.just({}), st.just([]),
    st.sampled_from(["0", "1", 1, 500, 10_000, "known.p1", "Output", "Input", "USD", "2026-01-15T12:00:00Z", "n", "c"]),
)  # fmt: skip
NAMES = sorted({name for _, _, data, _ in TYPES for name in data} | {"x", "maxValue", "recipients", "expiresAt"})
KINDS = [(type_, topic, data) for type_, topic, data, _ in TYPES]


@st.composite
def records(draw: st.DrawFn) -> Case:
    """A message with changed fields, truncated, with changed bytes, or no message at all."""
    type_, topic, data = draw(st.sampled_from(KINDS))
    order = draw(st.sampled_from([ORDER, ORDER, "other", "o", "unopened"]))
    ids = {
        name: draw(st.sampled_from("abcdefghij")) for name in ("invoiceNumber", "requestId", "settleId") if name in data
    }
    changed = json.loads(json.dumps(data | ids).replace(ORDER, order))
    if draw(st.booleans()):
        changed |= draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=2))
    value, headers = _binary(draw(st.sampled_from([type_] * 9 + [""])), changed)
    match draw(st.integers(0, 12)):
        case 0:
            value = draw(st.binary(max_size=60))
        case 1:
            value = value[: draw(st.integers(0, len(value)))]
        case 2:
            place = draw(st.integers(0, len(value) - 1))
            value = value[:place] + draw(st.binary(max_size=3)) + value[place + 1 :]
        case 3:
            contents = st.none() | st.binary(max_size=9)
            headers = draw(st.lists(st.tuples(st.sampled_from(["ce_type", "ce_id", "x"]), contents)))
        case 4:
            envelope: dict[str, Any] = {"specversion": "1.0", "type": type_, "data": changed}
            value, headers = (
                json.dumps(envelope | draw(st.dictionaries(st.sampled_from(list(envelope)), VALUES))).encode(),
                [],
            )
        case _:
            pass
    return Case("fuzz", topic, value, headers, "")


@pytest.mark.timeout(120 + 2 * FUZZ_ROUNDS)
def test_every_random_record_has_one_fate_and_none_raises(database_url: str, tmp_path: Path):
    """`FUZZ_ROUNDS=1000` sends more; each round has its own seed, from `FUZZ_SEED` on."""
    counted: Counter[str] = Counter()
    with asyncio.Runner() as runner:
        connection = runner.run(connect(database_url, name="fuzz", schema="ledger"))
        ledger = LedgerHarness(connection, database_url, tmp_path)
        runner.run(run_cycle(ledger, OPENED))

        def one_round(number: int) -> None:
            @seed(number)
            @settings(max_examples=ROUND_EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
                      suppress_health_check=list(HealthCheck))  # fmt: skip
            @given(st.lists(records(), min_size=1, max_size=12))
            def batch(cases: list[Case]) -> None:
                counted.update(runner.run(run_cycle(ledger, cases)))

            batch()

        for number in range(FUZZ_SEED, FUZZ_SEED + FUZZ_ROUNDS):
            one_round(number)
        verdict = runner.run(run_audit(ledger.settings))
        runner.run(connection.close())

    print(f"{sum(counted.values())} records: {dict(counted)}, {FUZZ_ROUNDS} seeds from {FUZZ_SEED}")
    assert verdict["findings"] == []
    assert counted["dead_lettered"]
    assert counted["internal"] == 0


async def run_cycle(ledger: LedgerHarness, cases: list[Case]) -> Counter[str]:
    """Runs one cycle with these cases; the number of records of each fate."""
    before, dice = fates(), random.Random(len(cases))
    for case in cases:
        ledger.read((case.topic, dice.randrange(len(ledger.epochs))), "any key", case.value, case.headers)
    sent = {record.origin: record for record in ledger.pending}
    ledger.now_ms += 1_000

    published = await ledger.cycle()

    counted = fates() - before
    for topic in TOPICS:
        assert sum(counted[topic, fate] for fate in FATES) == sum(place[0] == topic for place in sent)
    dead = {source(record): record for record in published if record.topic.endswith("-dlt")}
    rejected, parked = (sum(counted[topic, fate] for topic in TOPICS) for fate in ("dead_lettered", "parked"))
    died = len(dead.keys() & sent.keys())
    assert rejected <= died <= rejected + parked, "a parked fact counts as parked even if it is rejected later"
    assert not [letter for letter in dead.values() if reason(letter) == "internal"]
    for place, letter in dead.items():
        if place in sent:
            record = sent[place]
            sent_headers = letter.headers[: len(record.headers)]
            assert (letter.key, letter.value, sent_headers) == (record.key, record.value, record.headers)
    assert complaints(published) == []
    return Counter({fate: sum(counted[topic, fate] for topic in TOPICS) for fate in FATES})
