"""The command line in a terminal: readable output, escaped hostile strings, and errors in one line."""

import asyncio
import os
import re
import sys

import pytest
from rich.cells import cell_len

from tests.hostile import HOSTILE
from tests.integration.ledger.harness import LedgerHarness, authorized, invoice
from tests.integration.people.terminal import Screen, run_in_terminal
from tests.integration.people.undecided import take_over

COLUMNS = 80


@pytest.fixture
async def environment(ledger: LedgerHarness) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": ledger.url, "CONNECTORS_FILE": str(ledger.file),
        "TOPIC_PARTITIONS": "4", "TERM": "xterm-256color", "LANG": "C.UTF-8",
    }  # fmt: skip


async def at_terminal(environment: dict[str, str], *arguments: str, columns: int = COLUMNS) -> Screen:
    return await asyncio.to_thread(run_in_terminal, list(arguments), environment, columns)


def assert_readable(screen: Screen, columns: int = COLUMNS) -> None:
    """Asserts that no control character and no traceback is shown, and that lines fit, except a long word."""
    assert screen.control_characters() == set(), screen.control_characters()
    assert "Traceback" not in screen.text
    wide = [line for line in screen.text.split("\n") if cell_len(line) > columns]
    wrappable = [line for line in wide if max(map(cell_len, line.split(" "))) < columns / 2]
    assert not wrappable, wrappable


async def test_fifty_hostile_strings_are_shown_escaped_by_every_command_that_shows_them(
    ledger: LedgerHarness, environment: dict[str, str]
):
    assert len(set(HOSTILE)) == len(HOSTILE) == 50
    for number, text in enumerate(HOSTILE):
        order = f"o{number}{text}"[:256]
        ledger.send("order.authorized", authorized("all" if number == 0 else order, merchant=text))
        ledger.send("invoice.issued", invoice("all", text, 10))
        ledger.send("invoice.issued", invoice("all", text, 11))
        ledger.send("order.changed", {"orderId": "all", "requestId": text, "reason": text, "discountValue": 20_000,
                                      "incrementValue": 0})  # fmt: skip
    await ledger.cycle()
    await ledger.connection.executemany(
        "INSERT INTO people.acts (decided_by, reason, through, action, order_id, dead_letter)"
        " VALUES ($1, $1, 'ops view', 'replay', 'all', 1)",
        [(text,) for text in HOSTILE],
    )

    for arguments in (
        ("order", "all", "--explain"), ("order", "all", "--json"), ("dlq", "list", "--limit", "500"),
        ("dlq", "list", "--json"), ("dlq", "show", "1"), ("dlq", "replay", "--all", "--dry-run"), ("commands", "list"),
    ):  # fmt: skip
        screen = await at_terminal(environment, *arguments)
        assert screen.code == 0, screen.text[-2000:]
        if "--json" not in arguments:
            assert_readable(screen)
        assert screen.control_characters() == set()
    assert await ledger.value("SELECT count(*) FROM orders") == len(HOSTILE) - 1, (
        "a merchant that consists of blanks is invalid"
    )


@pytest.mark.parametrize("arguments", [
    ("order", "{}"), ("commands", "show", "{}"), ("dlq", "list", "--order", "{}", "--merchant", "{}"),
    ("commands", "retry", "{}", "--by", "{}", "--reason", "{}"),
    ("commands", "abandon", "--order", "{}", "--invoice", "{}", "--by", "{}", "--reason", "{}"),
    ("dlq", "replay", "--older", "{}", "--by", "ana", "--reason", "x"),
], ids=" ".join)  # fmt: skip
async def test_hostile_arguments_are_shown_escaped(environment: dict[str, str], arguments: tuple[str, ...]):
    """The argument is a concatenation of the short hostile strings."""
    word = "".join(text for text in HOSTILE if len(text) < 20)[:240]

    screen = await at_terminal(environment, *(argument.replace("{}", word) for argument in arguments))

    assert screen.code in (0, 1, 2)
    assert_readable(screen)


async def test_colours_are_for_terminals_only_and_can_be_switched_off(
    ledger: LedgerHarness, environment: dict[str, str]
):
    await ledger.apply("order.authorized", authorized("o1"))

    assert (await at_terminal(environment, "order", "o1")).coloured
    assert not (await at_terminal(environment | {"NO_COLOR": "1"}, "order", "o1")).coloured
    assert not (await at_terminal(environment | {"TERM": "dumb"}, "order", "o1")).coloured


@pytest.mark.parametrize("columns", [80, 120])
async def test_an_order_with_its_history_fits_the_width_of_the_terminal(
    ledger: LedgerHarness, environment: dict[str, str], columns: int
):
    await ledger.apply("order.authorized", authorized("O-1001", payments=[{"value": 7000}, {"value": 3000}]))
    await ledger.apply("invoice.issued", invoice("O-1001", "NF 17", 6000))
    await ledger.succeed(0)

    screen = await at_terminal(environment, "order", "O-1001", "--explain", columns=columns)

    assert_readable(screen, columns)
    for expected in ("order O-1001 of shop, PARTIAL: open", "settled 30.00", "NF 17", "settlement.confirmed",
                     "capture 30.00 for invoice NF 17", "issuer → authorized", "asked to be captured",
                     "outcome of capture #1", "payment O-1001.p2 holds 30.00 settled"):  # fmt: skip
        assert re.search(re.escape(expected), screen.text), (expected, screen.text)


async def test_a_command_is_shown_with_its_request_id(ledger: LedgerHarness, environment: dict[str, str]):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "17", 6000))
    command = await take_over(ledger, "unknown")
    request = await ledger.value("SELECT request_id FROM commands")

    screen = await at_terminal(environment, "commands", "show", command)

    assert_readable(screen)
    assert f"request {request}" in screen.text


@pytest.mark.parametrize("columns", [80, 200])
async def test_the_id_of_a_command_can_be_copied_from_the_list(
    ledger: LedgerHarness, environment: dict[str, str], columns: int
):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "17", 6000))
    command = await take_over(ledger, "unknown")

    screen = await at_terminal(environment, "commands", "list", columns=columns)

    assert_readable(screen, columns)
    assert command in screen.text.split()


async def test_an_order_that_waits_for_a_connector_is_listed_with_what_to_do(
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


async def test_every_command_reports_an_unreachable_server_or_a_wrong_setting_in_one_line(environment: dict[str, str]):
    url = environment["DATABASE_URL"]
    signed = ("--by", "a", "--reason", "b")
    typed = [("order", "x"), ("audit",), ("rebuild", "--check"), ("commands", "list"), ("dlq", "list"), ("migrate",),
             ("commands", "retry", "x", *signed), ("dlq", "replay", "--all", *signed)]  # fmt: skip
    wrong_password = re.sub(r"//([^:@/]+)(:[^@]*)?@", r"//\1:wrong@", url)
    cases = [
        (command, {"DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x"}, "cannot be reached") for command in typed
    ]
    cases += [(typed[0], {"DATABASE_URL": url.rpartition("/")[0] + "/postgres"}, "`settlement migrate` applies")]
    cases += [(typed[0], {"DATABASE_URL": wrong_password}, "does not let us in")]
    cases += [(typed[0], {"DATABASE_URL": "mysql://x"}, "DATABASE_URL takes postgresql://")]
    cases += [(typed[0], {"DATABASE_URL": url.rpartition("/")[0] + "/nowhere"}, "has no such database")]
    cases += [(typed[0], {"DATABASE_URL": f"{url}?sslmode=require"}, "rejected SSL upgrade")]
    cases += [(typed[0], {"DATABASE_URL": f"{url}?sslmode=verify-ca&sslrootcert=/no/file"}, "No such file")]
    cases += [
        (typed[0], {"DATABASE_URL": f"{url}?target_session_attrs=standby"}, "`target_session_attrs` in DATABASE_URL")
    ]
    cases += [(typed[0], {"DATABASE_URL": f"{url}?channel_binding=prefer"}, "DATABASE_URL cannot be used")]
    cases += [(command, {}, "Kafka at 127.0.0.1:9 does not answer") for command in (("topics",), ("sandbox", "erp"))]
    for arguments, changed, message in cases:
        screen = await at_terminal(environment | changed, *arguments, columns=400)
        assert screen.code in (1, 2), (arguments, screen.text)
        assert screen.text.count("\n") == 1, (arguments, screen.text)
        assert message in screen.text, (arguments, screen.text)
        assert "secret" not in screen.text


async def test_a_closed_output_pipe_is_no_error(ledger: LedgerHarness, environment: dict[str, str]):
    for number in range(40):
        await ledger.apply("invoice.issued", {"orderId": f"o{number}"})
    shell = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m worker dlq list | head -1", env=os.environ | environment, stdout=-1, stderr=-1
    )  # fmt: skip

    out, err = await shell.communicate()

    assert out.startswith(b"id")
    assert err == b""
