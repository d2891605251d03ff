"""Replay as people type it: real Kafka, and processes that are killed."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError

from tests.integration.ledger.harness import authorized, invoice
from tests.integration.login import login
from tests.integration.people.ledger_on_kafka import LedgerOnKafka
from tests.until import until
from worker.kafka import names, topics
from worker.kafka.connecting import admin_client
from worker.ledger.checking import run_audit, run_rebuild

WHO = ("--by", "ana", "--reason", "agreed with the ERP")
CHANGE = {"orderId": "o1", "requestId": "c", "reason": "r", "discountValue": 6000, "incrementValue": 0}
MORE = CHANGE | {"requestId": "more", "discountValue": 0, "incrementValue": 3000}

ORDERS, INVOICES = 500, 20
PATIENCE_SECONDS = 240


async def is_sound(ledger_on_kafka: LedgerOnKafka) -> bool:
    found = [await run_audit(ledger_on_kafka.settings), await run_rebuild(ledger_on_kafka.settings)]
    return all(one["ok"] for one in found)


@pytest.fixture
async def refused(ledger_on_kafka: LedgerOnKafka) -> LedgerOnKafka:
    """Dead letter 1 is a change that would be accepted now."""
    await ledger_on_kafka.publish("order.authorized", [authorized("o1", value=5000, payments=[{"value": 10_000}])])
    await ledger_on_kafka.consume()
    await ledger_on_kafka.publish("order.changed", [CHANGE, MORE])
    await ledger_on_kafka.consume()
    return ledger_on_kafka


async def test_ten_thousand_replayed_killed_half_way_and_repeated_are_applied_once_each(ledger_on_kafka: LedgerOnKafka):
    orders = [f"o{number}" for number in range(ORDERS)]
    facts = [invoice(one, str(number), 100) for number in range(INVOICES) for one in orders]
    await ledger_on_kafka.publish("invoice.issued", facts)
    await ledger_on_kafka.consume()
    ledger_on_kafka.now_ms += ledger_on_kafka.settings.parking_ms + 1
    while await ledger_on_kafka.value("SELECT count(*) FROM parked"):
        await ledger_on_kafka.cycle()
    await ledger_on_kafka.publish("order.authorized", [authorized(one, value=100 * INVOICES) for one in orders])
    await ledger_on_kafka.consume()
    everything = ("dlq", "replay", "--all", *WHO, "--per-second", "4000")

    first = ledger_on_kafka.start(*everything)
    await until_replayed(ledger_on_kafka, len(facts) // 3)
    first.kill()
    first.wait()
    left = await ledger_on_kafka.value("SELECT count(*) FROM dead_letters WHERE status = 'open'")
    await (
        ledger_on_kafka.connection.execute(  # as if the death had come a moment earlier, between publishing and marking
            "UPDATE dead_letters SET status = 'open', decided_by = NULL, decided_reason = NULL, decided_at = NULL"
            " WHERE id IN (SELECT id FROM dead_letters WHERE status = 'replayed' ORDER BY id DESC LIMIT 100)"
        )
    )
    await ledger_on_kafka.settlement(*everything)
    await ledger_on_kafka.consume()

    assert 0 < left < len(facts), "it was killed half way"
    assert await ledger_on_kafka.rows("SELECT status, count(*) FROM dead_letters GROUP BY 1") == [
        ("replayed", len(facts))
    ]
    assert await ledger_on_kafka.value("SELECT count(*) FROM facts WHERE topic = 'erp.invoices.v1'") == len(facts)
    last = {one["orderId"]: one["invoiced"] for one in ledger_on_kafka.of(names.ORDERS)}
    assert last == dict.fromkeys(orders, 100 * INVOICES)
    assert await ledger_on_kafka.value("SELECT sum(duplicates) FROM consumed") >= 100, "some were published twice"
    assert await ledger_on_kafka.settlement(*everything) == "replayed 0 dead letters\n"
    assert await is_sound(ledger_on_kafka)


async def until_replayed(ledger_on_kafka: LedgerOnKafka, number: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while await ledger_on_kafka.value("SELECT count(*) FROM dead_letters WHERE status = 'replayed'") < number:
        assert time.monotonic() < deadline, "it never came so far"
        await asyncio.sleep(0.01)


async def test_a_look_first_then_a_replay_with_name_and_reason(refused: LedgerOnKafka):
    looked = json.loads(await refused.settlement("dlq", "replay", "1", "--dry-run", "--json"))
    assert [(one["id"], one["fate"]) for one in looked] == [(1, "applied")]
    assert "void 6000" not in await refused.settlement("dlq", "replay", "--all", "--dry-run")
    assert await refused.value("SELECT count(*) FROM people.acts") == 0, "a look is no act"

    assert await refused.settlement("dlq", "replay", "1", *WHO) == "replayed 1 dead letter\n"
    waiting = json.loads(await refused.settlement("dlq", "show", "1", "--json"))
    assert waiting["became"] == "It is published again; the ledger worker has not read it yet."
    await refused.consume()

    assert refused.state("o1")["value"] == 2000
    found = json.loads(await refused.settlement("dlq", "show", "1", "--json"))
    assert (found["status"], found["decided_by"], found["became"]) == (
        "replayed", "ana", "It was judged again and applied.",
    )  # fmt: skip
    assert [(one["action"], one["decided_by"], one["reason"], one["through"]) for one in found["acts"]] == [
        ("replay", "ana", "agreed with the ERP", "command line")
    ]
    assert await refused.settlement("dlq", "replay", "1", *WHO) == (
        "replayed 0 dead letters\nreplayed before: 1; `settlement dlq show ID` tells what became of it\n"
    ), "the same call acts once"
    assert await is_sound(refused)


@pytest.mark.parametrize(("role", "acts"), [("settlement_operator", True), ("settlement_ops", False)])
async def test_whoever_may_look_may_look_ahead_and_only_who_may_act_acts(refused: LedgerOnKafka, role: str, acts: bool):
    async with login(refused.environment["DATABASE_URL"], role) as address:
        looked = json.loads(await refused.settlement("dlq", "replay", "1", "--dry-run", "--json", DATABASE_URL=address))
        said = await refused.settlement("dlq", "replay", "1", *WHO, code=0 if acts else 1, DATABASE_URL=address)
        recovering = await refused.settlement("recover", code=1, DATABASE_URL=address)

    assert [one["fate"] for one in looked] == ["applied"]
    assert ("replayed 1 dead letter" in said, "does not allow it" in said) == (acts, not acts)
    assert "does not allow it" in recovering, "a whole database is taken back by the owner of its tables alone"
    assert "Traceback" not in said + recovering


async def test_an_edited_replay_sends_the_edit_and_keeps_the_original(refused: LedgerOnKafka):
    await refused.settlement("dlq", "replay", "1", "--patch", '{"discountValue": 1000, "note": null}', *WHO)
    await refused.consume()

    assert refused.state("o1")["value"] == 7000
    found = json.loads(await refused.settlement("dlq", "show", "1", "--json"))
    assert json.loads(found["value"])["discountValue"] == 6000
    assert json.loads(found["acts"][0]["sent"])["discountValue"] == 1000
    assert await is_sound(refused)


async def test_a_header_without_a_value_is_shown_as_nothing_and_replayed_so(refused: LedgerOnKafka):
    await refused.publish("order.changed", [CHANGE | {"requestId": "d", "discountValue": 9000}], headers=[("x", None)])
    await refused.consume()
    first = await refused.value("SELECT max(id) FROM dead_letters")

    assert "header x " in await refused.settlement("dlq", "show", str(first))
    assert json.loads(await refused.settlement("dlq", "show", str(first), "--json"))["headers"][-1] == ["x", None]
    assert await refused.settlement("dlq", "replay", str(first), *WHO) == "replayed 1 dead letter\n"
    await refused.consume()

    second = await refused.value("SELECT max(id) FROM dead_letters")
    again = json.loads(await refused.settlement("dlq", "show", str(second), "--json"))
    assert again["replay_of"] == first
    assert again["headers"][-2:] == [["x", None], ["settlement-replay", str(first)]]


async def test_a_replay_as_fast_as_it_goes_may_be_typed_as_such(refused: LedgerOnKafka):
    """It ended in a traceback."""
    assert await refused.settlement("dlq", "replay", "1", *WHO, "--per-second", "inf") == "replayed 1 dead letter\n"


async def test_a_record_with_a_megabyte_of_headers_is_shown_on_one_screen(refused: LedgerOnKafka):
    """It took a minute, and filled the terminal with what nobody reads."""
    headers = [("long", b"x" * 300_000), *((f"h{number}", b"") for number in range(20_000))]
    await refused.publish("order.changed", [CHANGE | {"requestId": "d", "discountValue": 9000}], headers=headers)
    await refused.consume()
    letter = str(await refused.value("SELECT max(id) FROM dead_letters"))

    shown = await refused.settlement("dlq", "show", letter)

    assert len(shown) < 20_000
    assert "more headers; --json shows them" in shown
    assert len(json.loads(await refused.settlement("dlq", "show", letter, "--json"))["headers"]) > len(headers)


async def narrow(ledger_on_kafka: LedgerOnKafka, topic: str, bytes_max: int) -> None:
    config = ConfigResource(
        ConfigResourceType.TOPIC, ledger_on_kafka.settings.topic(topic), {topics.LARGEST: str(bytes_max)}
    )
    async with admin_client(ledger_on_kafka.settings) as admin:
        await admin.alter_configs([config])


async def test_what_together_is_too_large_for_its_topic_is_replayed_one_by_one(refused: LedgerOnKafka):
    await narrow(refused, names.ORDER_CHANGES, 10_000)
    for number in range(30):
        change = CHANGE | {"requestId": f"long {number}", "discountValue": 9000, "reason": "r" * 4_000}
        await refused.publish("order.changed", [change])
    await refused.consume()

    # Ten at a time: a partition took some of them before it refuses the next.
    said = await refused.settlement("dlq", "replay", "--all", *WHO, "--per-second", "100")

    assert said == "replayed 31 dead letters\n"
    await refused.consume()
    assert await refused.value("SELECT count(*) FROM dead_letters WHERE returned_at IS NOT NULL") == 31


async def test_the_one_that_is_too_large_for_its_topic_is_named_and_the_others_before_it_are_replayed(
    refused: LedgerOnKafka,
):
    change = CHANGE | {"requestId": "long", "discountValue": 9000, "reason": "r" * 4_000}
    await refused.publish("order.changed", [change])
    await refused.consume()
    long = await refused.value("SELECT max(id) FROM dead_letters")
    await narrow(refused, names.ORDER_CHANGES, 3_000)

    async def is_narrow() -> bool:
        try:
            await refused.publish("order.changed", [change])
        except MessageSizeTooLargeError:
            return True
        return False

    await until(is_narrow, PATIENCE_SECONDS)
    said = await refused.settlement("dlq", "replay", "--all", *WHO, code=1)
    await refused.consume()

    assert f"dead letter {long} is larger than its topic takes" in said
    assert await refused.value("SELECT status FROM dead_letters WHERE id = 1") == "replayed"
    assert await refused.value("SELECT status FROM dead_letters WHERE id = $1", long) == "open"


async def test_who_forgot_their_name_is_told_before_the_editor_opens(refused: LedgerOnKafka, tmp_path: Path):
    """Afterwards, what they wrote in it would be lost."""
    opened = tmp_path / "opened"

    await refused.settlement("dlq", "replay", "1", "--edit", EDITOR=f"touch {opened}", VISUAL="", code=2)

    assert not opened.exists()


async def test_an_editor_is_opened_on_the_message(refused: LedgerOnKafka):
    script = "import pathlib,sys; f=pathlib.Path(sys.argv[1]); f.write_text(f.read_text().replace('6000', '500'))"
    editor = f'{sys.executable} -c "{script}"'

    await refused.settlement("dlq", "replay", "1", "--edit", *WHO, EDITOR=editor, VISUAL="")
    await refused.consume()

    assert refused.state("o1")["value"] == 7500
    for broken, says in (("true", "nothing was changed"), ("false", "ended with 1"), ("/no/such", "cannot be started")):
        await refused.connection.execute("UPDATE dead_letters SET status = 'open', returned_at = NULL,"
                                         " returned_partition = NULL, returned_offset = NULL")  # fmt: skip
        assert says in await refused.settlement("dlq", "replay", "1", "--edit", *WHO, EDITOR=broken, VISUAL="", code=1)


async def test_of_commands_and_outcomes_a_person_decides(refused: LedgerOnKafka):
    await refused.connection.execute(
        'INSERT INTO delivery.dead_letters (topic, partition, "offset", reason, message, value, headers, timestamp,'
        " dead_at) VALUES ('settlement.commands.v1', 0, 0, 'declined', 'no', '{\"commandId\": \"C-1\"}', '[]', now(),"
        " now())"
    )

    said = await refused.settlement("dlq", "replay", "2", *WHO, code=1)
    assert said == (
        "settlement: dead letter 2 is not replayed but decided: `settlement commands retry C-1` asks again, "
        "`… abandon C-1` gives it up\n"
    )
    said = await refused.settlement("dlq", "replay", "--all", *WHO)
    assert "replayed 1 dead letter\ncommands or outcomes, of which a person decides: 1; " in said


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("replay", "1"), 2, "say who replays and why"),
        (("replay", *WHO), 2, "say which"),
        (("replay", "1", "--all", *WHO), 2, "say which"),
        (("replay", "--all", "--patch", "{}", *WHO), 2, "give one number"),
        (("replay", "1", "--patch", "{", *WHO), 1, "the patch is not JSON"),
        (("replay", "1", "--patch", "[]", *WHO), 1, "a patch is a JSON object"),
        (("replay", "7", *WHO), 1, "no dead letter 7 is known"),
        (("replay", "--older", "soon", *WHO), 2, "--older takes an age"),
        (("discard", "1", "--by", " ", "--reason", "x"), 2, "--by is blank"),
    ],
)
async def test_what_cannot_be_done_is_one_sentence(
    refused: LedgerOnKafka, arguments: tuple[str, ...], code: int, says: str
):
    said = await refused.settlement("dlq", *arguments, code=code)

    assert said.count("\n") == 1
    assert says in said
