"""`settlement dlq replay` on real Kafka: kills, roles, edits, size limits and refusals."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError

from tests.integration.ledger.harness import CHANGE, INCREMENT, authorized, invoice
from tests.integration.login import login
from tests.integration.people.ledger_on_kafka import LedgerOnKafka
from tests.until import until
from worker.kafka import names, topics
from worker.kafka.connecting import admin_client

WHO = ("--by", "ana", "--reason", "agreed with the ERP")
ORDERS, INVOICES = 500, 20
PATIENCE_SECONDS = 240


@pytest.fixture
async def rejected(ledger_on_kafka: LedgerOnKafka) -> LedgerOnKafka:
    """A ledger whose dead letter 1 is a change that would be accepted now."""
    await ledger_on_kafka.publish("order.authorized", [authorized("o1", value=5000, payments=[{"value": 10_000}])])
    await ledger_on_kafka.consume()
    await ledger_on_kafka.publish("order.changed", [CHANGE, INCREMENT])
    await ledger_on_kafka.consume()
    return ledger_on_kafka


async def test_ten_thousand_replays_killed_half_way_and_repeated_are_applied_once_each(ledger_on_kafka: LedgerOnKafka):
    orders = [f"o{number}" for number in range(ORDERS)]
    facts = [invoice(order, str(number), 100) for number in range(INVOICES) for order in orders]
    await ledger_on_kafka.publish("invoice.issued", facts)
    await ledger_on_kafka.consume()
    ledger_on_kafka.now_ms += ledger_on_kafka.settings.parking_ms + 1
    while await ledger_on_kafka.value("SELECT count(*) FROM parked"):
        await ledger_on_kafka.cycle()
    await ledger_on_kafka.publish("order.authorized", [authorized(order, value=100 * INVOICES) for order in orders])
    await ledger_on_kafka.consume()
    everything = ("dlq", "replay", "--all", *WHO, "--per-second", "4000")

    first = ledger_on_kafka.start(*everything)
    await until_replayed(ledger_on_kafka, len(facts) // 3)
    first.kill()
    first.wait()
    left = await ledger_on_kafka.value("SELECT count(*) FROM dead_letters WHERE status = 'open'")
    await (
        ledger_on_kafka.connection.execute(  # as if it had been killed a moment earlier, between publishing and marking
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
    invoiced = {state["orderId"]: state["invoiced"] for state in ledger_on_kafka.published(names.ORDERS)}
    assert invoiced == dict.fromkeys(orders, 100 * INVOICES)
    assert await ledger_on_kafka.value("SELECT sum(duplicates) FROM consumed") >= 100, "some were published twice"
    assert await ledger_on_kafka.settlement(*everything) == "replayed 0 dead letters\n"
    assert await ledger_on_kafka.is_sound()


async def until_replayed(ledger_on_kafka: LedgerOnKafka, number: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while await ledger_on_kafka.value("SELECT count(*) FROM dead_letters WHERE status = 'replayed'") < number:
        assert time.monotonic() < deadline, "too few dead letters were replayed"
        await asyncio.sleep(0.01)


async def test_a_dead_letter_is_replayed_with_name_and_reason_after_a_dry_run(rejected: LedgerOnKafka):
    predicted = json.loads(await rejected.settlement("dlq", "replay", "1", "--dry-run", "--json"))
    assert [(letter["id"], letter["fate"]) for letter in predicted] == [(1, "applied")]
    assert "void 6000" not in await rejected.settlement("dlq", "replay", "--all", "--dry-run")
    assert await rejected.value("SELECT count(*) FROM people.acts") == 0, "a dry run is no act"

    assert await rejected.settlement("dlq", "replay", "1", *WHO) == "replayed 1 dead letter\n"
    waiting = json.loads(await rejected.settlement("dlq", "show", "1", "--json"))
    assert waiting["became"] == "It is published again; the ledger worker has not read it yet."
    await rejected.consume()

    assert rejected.state("o1")["value"] == 2000
    letter = json.loads(await rejected.settlement("dlq", "show", "1", "--json"))
    assert (letter["status"], letter["decided_by"], letter["became"]) == (
        "replayed", "ana", "It was judged again and applied.",
    )  # fmt: skip
    assert [(act["action"], act["decided_by"], act["reason"], act["through"]) for act in letter["acts"]] == [
        ("replay", "ana", "agreed with the ERP", "command line")
    ]
    assert await rejected.settlement("dlq", "replay", "1", *WHO) == (
        "replayed 0 dead letters\nreplayed before: 1; `settlement dlq show ID` tells what became of it\n"
    ), "the same command acts once"
    assert await rejected.settlement("dlq", "replay", "1", "--dry-run") == (
        "0 dead letters would be judged now: nothing to do; nothing was sent\n"
        "replayed before: 1; `settlement dlq show ID` tells what became of it\n"
    )
    assert await rejected.is_sound()


@pytest.mark.parametrize(("role", "acts"), [("settlement_operator", True), ("settlement_ops", False)])
async def test_a_read_only_login_may_do_a_dry_run_but_not_replay(rejected: LedgerOnKafka, role: str, acts: bool):
    async with login(rejected.environment["DATABASE_URL"], role) as address:
        dry_run = await rejected.settlement("dlq", "replay", "1", "--dry-run", "--json", DATABASE_URL=address)
        replay = await rejected.settlement("dlq", "replay", "1", *WHO, code=0 if acts else 1, DATABASE_URL=address)
        recovery = await rejected.settlement("recover", code=1, DATABASE_URL=address)

    assert [letter["fate"] for letter in json.loads(dry_run)] == ["applied"]
    assert ("replayed 1 dead letter" in replay, "does not allow it" in replay) == (acts, not acts)
    assert "does not allow it" in recovery, "only the owner of the tables may recover a database"
    assert "Traceback" not in replay + recovery


async def test_an_edited_replay_sends_the_edit_and_keeps_the_original(rejected: LedgerOnKafka):
    await rejected.settlement("dlq", "replay", "1", "--patch", '{"discountValue": 1000, "note": null}', *WHO)
    await rejected.consume()

    assert rejected.state("o1")["value"] == 7000
    letter = json.loads(await rejected.settlement("dlq", "show", "1", "--json"))
    assert json.loads(letter["value"])["discountValue"] == 6000
    assert json.loads(letter["acts"][0]["sent"])["discountValue"] == 1000
    assert await rejected.is_sound()


async def test_a_header_without_a_value_is_replayed_without_a_value(rejected: LedgerOnKafka):
    await rejected.publish("order.changed", [CHANGE | {"requestId": "d", "discountValue": 9000}], headers=[("x", None)])
    await rejected.consume()
    first = await rejected.value("SELECT max(id) FROM dead_letters")

    assert "\nheader x\n" in await rejected.settlement("dlq", "show", str(first))
    assert json.loads(await rejected.settlement("dlq", "show", str(first), "--json"))["headers"][-1] == ["x", None]
    assert await rejected.settlement("dlq", "replay", str(first), *WHO) == "replayed 1 dead letter\n"
    await rejected.consume()

    second = await rejected.value("SELECT max(id) FROM dead_letters")
    replayed = json.loads(await rejected.settlement("dlq", "show", str(second), "--json"))
    assert replayed["replay_of"] == first
    assert replayed["headers"][-2:] == [["x", None], ["settlement-replay", str(first)]]


async def test_a_replay_accepts_an_infinite_rate(rejected: LedgerOnKafka):
    """It ended in a traceback."""
    assert await rejected.settlement("dlq", "replay", "1", *WHO, "--per-second", "inf") == "replayed 1 dead letter\n"


async def test_a_record_with_a_megabyte_of_headers_is_shown_on_one_screen(rejected: LedgerOnKafka):
    """It took a minute and flooded the terminal."""
    headers = [("long", b"x" * 300_000), *((f"h{number}", b"") for number in range(20_000))]
    await rejected.publish("order.changed", [CHANGE | {"requestId": "d", "discountValue": 9000}], headers=headers)
    await rejected.consume()
    letter = str(await rejected.value("SELECT max(id) FROM dead_letters"))

    shown = await rejected.settlement("dlq", "show", letter)

    assert len(shown) < 20_000
    assert "more headers; --json shows them" in shown
    assert len(json.loads(await rejected.settlement("dlq", "show", letter, "--json"))["headers"]) > len(headers)


async def limit_message_bytes(ledger_on_kafka: LedgerOnKafka, topic: str, bytes_max: int) -> None:
    config = ConfigResource(
        ConfigResourceType.TOPIC, ledger_on_kafka.settings.topic(topic), {topics.LARGEST: str(bytes_max)}
    )
    async with admin_client(ledger_on_kafka.settings) as admin:
        await admin.alter_configs([config])


async def test_a_batch_too_large_for_its_topic_is_replayed_record_by_record(rejected: LedgerOnKafka):
    await limit_message_bytes(rejected, names.ORDER_CHANGES, 10_000)
    for number in range(30):
        change = CHANGE | {"requestId": f"long {number}", "discountValue": 9000, "reason": "r" * 4_000}
        await rejected.publish("order.changed", [change])
    await rejected.consume()

    # Ten at a time: a partition accepts some before it refuses the next.
    output = await rejected.settlement("dlq", "replay", "--all", *WHO, "--per-second", "100")

    assert output == "replayed 31 dead letters\n"
    await rejected.consume()
    assert await rejected.value("SELECT count(*) FROM dead_letters WHERE returned_at IS NOT NULL") == 31


async def test_a_record_too_large_for_its_topic_is_named_after_the_ones_before_it_were_replayed(
    rejected: LedgerOnKafka,
):
    change = CHANGE | {"requestId": "long", "discountValue": 9000, "reason": "r" * 4_000}
    await rejected.publish("order.changed", [change])
    await rejected.consume()
    long = await rejected.value("SELECT max(id) FROM dead_letters")
    await limit_message_bytes(rejected, names.ORDER_CHANGES, 3_000)

    async def limit_applies() -> bool:
        try:
            await rejected.publish("order.changed", [change])
        except MessageSizeTooLargeError:
            return True
        return False

    await until(limit_applies, PATIENCE_SECONDS)
    error = await rejected.settlement("dlq", "replay", "--all", *WHO, code=1)
    await rejected.consume()

    assert f"dead letter {long} is larger than its topic takes" in error
    assert await rejected.value("SELECT status FROM dead_letters WHERE id = 1") == "replayed"
    assert await rejected.value("SELECT status FROM dead_letters WHERE id = $1", long) == "open"


async def test_a_missing_name_is_reported_before_the_editor_opens(rejected: LedgerOnKafka, tmp_path: Path):
    """Afterwards the edit would be lost."""
    opened = tmp_path / "opened"

    await rejected.settlement("dlq", "replay", "1", "--edit", EDITOR=f"touch {opened}", VISUAL="", code=2)

    assert not opened.exists()


async def test_an_edited_message_is_replayed_and_editor_failures_are_reported(rejected: LedgerOnKafka):
    script = "import pathlib,sys; f=pathlib.Path(sys.argv[1]); f.write_text(f.read_text().replace('6000', '500'))"
    editor = f'{sys.executable} -c "{script}"'

    await rejected.settlement("dlq", "replay", "1", "--edit", *WHO, EDITOR=editor, VISUAL="")
    await rejected.consume()

    assert rejected.state("o1")["value"] == 7500
    for broken, message in (
        ("true", "nothing was changed"),
        ("false", "ended with 1"),
        ("/no/such", "cannot be started"),
    ):
        await rejected.connection.execute("UPDATE dead_letters SET status = 'open', returned_at = NULL,"
                                         " returned_partition = NULL, returned_offset = NULL")  # fmt: skip
        assert message in await rejected.settlement(
            "dlq", "replay", "1", "--edit", *WHO, EDITOR=broken, VISUAL="", code=1
        )


async def test_dead_letters_of_commands_are_decided_and_not_replayed(rejected: LedgerOnKafka):
    await rejected.connection.execute(
        'INSERT INTO delivery.dead_letters (topic, partition, "offset", reason, message, value, headers, timestamp,'
        " dead_at) VALUES ('settlement.commands.v1', 0, 0, 'declined', 'no', '{\"commandId\": \"C-1\"}', '[]', now(),"
        " now())"
    )

    error = await rejected.settlement("dlq", "replay", "2", *WHO, code=1)
    assert error == (
        "settlement: dead letter 2 is not replayed but decided: `settlement commands retry C-1` asks again, "
        "`… abandon C-1` gives it up\n"
    )
    decided = "commands or outcomes, of which a person decides: 1; `settlement commands list`"
    assert (await rejected.settlement("dlq", "replay", "--all", "--dry-run")).splitlines()[-1] == decided
    output = await rejected.settlement("dlq", "replay", "--all", *WHO)
    assert "replayed 1 dead letter\ncommands or outcomes, of which a person decides: 1; " in output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
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
async def test_a_wrong_dlq_command_is_refused_in_one_line(
    rejected: LedgerOnKafka, arguments: tuple[str, ...], code: int, message: str
):
    error = await rejected.settlement("dlq", *arguments, code=code)

    assert error.count("\n") == 1
    assert message in error
