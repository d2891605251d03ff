"""The command line at a real terminal: pleasant for people, and deaf to what strings from outside would have it do."""

import asyncio
import os
import re
import sys

import pytest
from rich.cells import cell_len

from tests.hostile import HOSTILE
from tests.integration.ledger.harness import LedgerHarness, authorized, invoice
from tests.integration.people.terminal import Screen, typed
from tests.integration.people.test_decisions import taken_over

COLUMNS = 80


@pytest.fixture
async def environment(ledger: LedgerHarness) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": ledger.url, "CONNECTORS_FILE": str(ledger.file),
        "TOPIC_PARTITIONS": "4", "TERM": "xterm-256color", "LANG": "C.UTF-8",
    }  # fmt: skip


async def at_terminal(environment: dict[str, str], *arguments: str, columns: int = COLUMNS) -> Screen:
    return await asyncio.to_thread(typed, list(arguments), environment, columns)


def is_deaf(screen: Screen, columns: int = COLUMNS) -> None:
    """Nothing is obeyed, nothing is wider than the terminal, nothing broke."""
    assert screen.obeyed() == set(), screen.obeyed()
    assert "Traceback" not in screen.text
    wide = [line for line in screen.text.split("\n") if cell_len(line) > columns]
    assert not wide, wide


async def test_fifty_hostile_strings_are_shown_escaped_by_every_command_that_shows_them(
    ledger: LedgerHarness, environment: dict[str, str]
):
    assert len(set(HOSTILE)) == len(HOSTILE) == 50
    for number, one in enumerate(HOSTILE):
        order = f"o{number}{one}"[:256]
        ledger.send("order.authorized", authorized("all" if number == 0 else order, merchant=one))
        ledger.send("invoice.issued", invoice("all", one, 10))
        ledger.send("invoice.issued", invoice("all", one, 11))
        ledger.send("order.changed", {"orderId": "all", "requestId": one, "reason": one, "discountValue": 20_000,
                                      "incrementValue": 0})  # fmt: skip
    await ledger.cycle()
    await ledger.connection.executemany(
        "INSERT INTO people.acts (decided_by, reason, through, action, order_id, dead_letter)"
        " VALUES ($1, $1, 'ops view', 'replay', 'all', 1)",
        [(one,) for one in HOSTILE],
    )

    for arguments in (
        ("order", "all", "--explain"), ("order", "all", "--json"), ("dlq", "list", "--limit", "500"),
        ("dlq", "list", "--json"), ("dlq", "show", "1"), ("dlq", "replay", "--all", "--dry-run"), ("commands", "list"),
    ):  # fmt: skip
        screen = await at_terminal(environment, *arguments)
        assert screen.code == 0, screen.text[-2000:]
        if "--json" not in arguments:
            is_deaf(screen)
        assert screen.obeyed() == set()
    assert await ledger.value("SELECT count(*) FROM orders") == len(HOSTILE) - 1, (
        "a merchant of blanks alone is invalid"
    )


@pytest.mark.parametrize("arguments", [
    ("order", "{}"), ("commands", "show", "{}"), ("dlq", "list", "--order", "{}", "--merchant", "{}"),
    ("commands", "retry", "{}", "--by", "{}", "--reason", "{}"),
    ("commands", "abandon", "--order", "{}", "--invoice", "{}", "--by", "{}", "--reason", "{}"),
    ("dlq", "replay", "--older", "{}", "--by", "ana", "--reason", "x"),
], ids=" ".join)  # fmt: skip
async def test_hostile_arguments_are_answered_in_one_calm_sentence(
    environment: dict[str, str], arguments: tuple[str, ...]
):
    """All of them at once, as one word: each of their tricks is in it."""
    word = "".join(one for one in HOSTILE if len(one) < 20)[:240]

    screen = await at_terminal(environment, *(one.replace("{}", word) for one in arguments))

    assert screen.code in (0, 1, 2)
    is_deaf(screen)


async def test_colours_are_for_terminals_only_and_can_be_switched_off(
    ledger: LedgerHarness, environment: dict[str, str]
):
    await ledger.apply("order.authorized", authorized("o1"))

    assert (await at_terminal(environment, "order", "o1")).coloured
    assert not (await at_terminal(environment | {"NO_COLOR": "1"}, "order", "o1")).coloured
    assert not (await at_terminal(environment | {"TERM": "dumb"}, "order", "o1")).coloured


@pytest.mark.parametrize("columns", [80, 120])
async def test_an_order_fits_its_terminal_and_tells_its_story(
    ledger: LedgerHarness, environment: dict[str, str], columns: int
):
    await ledger.apply("order.authorized", authorized("O-1001", payments=[{"value": 7000}, {"value": 3000}]))
    await ledger.apply("invoice.issued", invoice("O-1001", "NF 17", 6000))
    await ledger.succeed(0)

    screen = await at_terminal(environment, "order", "O-1001", "--explain", columns=columns)

    is_deaf(screen, columns)
    for expected in ("order O-1001 of shop, PARTIAL: open", "settled 30.00", "NF 17", "settlement.confirmed",
                     "settle 30.00 for invoice NF 17", "issuer → authorized", "asked to be captured",
                     "outcome of settle #1", "payment O-1001.p2 holds 30.00 settled"):  # fmt: skip
        assert re.search(re.escape(expected), screen.text), (expected, screen.text)


async def test_a_command_is_shown_with_the_request_by_which_its_connector_knows_it(
    ledger: LedgerHarness, environment: dict[str, str]
):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "17", 6000))
    command = await taken_over(ledger, "unknown")
    request = await ledger.value("SELECT request_id FROM commands")

    screen = await at_terminal(environment, "commands", "show", command)

    is_deaf(screen)
    assert f"request {request}" in screen.text


async def test_an_order_that_waits_for_a_connector_is_listed_with_what_a_person_can_do(
    ledger: LedgerHarness, environment: dict[str, str]
):
    await ledger.apply("order.authorized", authorized("o1", payments=[{"value": 10_000, "connector": "newpay"}]))

    screen = await at_terminal(environment, "commands", "list", columns=200)

    assert screen.text == ("the connectors file does not name newpay: 1 order waiting, first o1; "
                           "add it to the file, then send SIGHUP to the workers\n")  # fmt: skip

    ledger.file.write_text(ledger.file.read_text().replace("connectors.c1", "connectors.newpay"))
    ledger.handler.reload()
    await ledger.cycle()

    assert (await at_terminal(environment, "commands", "list")).text == "nothing needs a person\n"


async def test_what_is_away_wrong_or_missing_is_one_sentence_for_every_command(environment: dict[str, str]):
    url = environment["DATABASE_URL"]
    person = ("--by", "a", "--reason", "b")
    looks = [("order", "x"), ("audit",), ("rebuild", "--check"), ("commands", "list"), ("dlq", "list"), ("migrate",),
             ("commands", "retry", "x", *person), ("dlq", "replay", "--all", *person)]  # fmt: skip
    wrong_password = re.sub(r"//([^:@/]+)(:[^@]*)?@", r"//\1:wrong@", url)
    cases = [(one, {"DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x"}, "cannot be reached") for one in looks]
    cases += [(looks[0], {"DATABASE_URL": url.rpartition("/")[0] + "/postgres"}, "`settlement migrate` applies")]
    cases += [(looks[0], {"DATABASE_URL": wrong_password}, "does not let us in")]
    cases += [(looks[0], {"DATABASE_URL": "mysql://x"}, "DATABASE_URL takes postgresql://")]
    cases += [(looks[0], {"DATABASE_URL": url.rpartition("/")[0] + "/nowhere"}, "has no such database")]
    cases += [(looks[0], {"DATABASE_URL": f"{url}?sslmode=require"}, "rejected SSL upgrade")]
    cases += [(looks[0], {"DATABASE_URL": f"{url}?sslmode=verify-ca&sslrootcert=/no/file"}, "No such file")]
    cases += [
        (looks[0], {"DATABASE_URL": f"{url}?target_session_attrs=standby"}, "`target_session_attrs` in DATABASE_URL")
    ]
    cases += [(looks[0], {"DATABASE_URL": f"{url}?channel_binding=prefer"}, "DATABASE_URL cannot be used")]
    cases += [(one, {}, "Kafka at 127.0.0.1:9 does not answer") for one in (("topics",), ("sandbox", "erp"))]
    for arguments, changed, says in cases:
        screen = await at_terminal(environment | changed, *arguments, columns=400)
        assert screen.code in (1, 2), (arguments, screen.text)
        assert screen.text.count("\n") == 1, (arguments, screen.text)
        assert says in screen.text, (arguments, screen.text)
        assert "secret" not in screen.text


async def test_output_that_nobody_reads_to_its_end_is_no_error(ledger: LedgerHarness, environment: dict[str, str]):
    for number in range(40):
        await ledger.apply("invoice.issued", {"orderId": f"o{number}"})
    shell = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m worker dlq list | head -1", env=os.environ | environment, stdout=-1, stderr=-1
    )  # fmt: skip

    out, err = await shell.communicate()

    assert out.startswith(b"id")
    assert err == b""
