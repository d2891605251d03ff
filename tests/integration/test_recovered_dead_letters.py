"""Rows that a recovery makes of dead letters."""

import asyncpg

from worker.kafka.dead_letters import dead_letter
from worker.kafka.names import COMMANDS
from worker.kafka.records import Record
from worker.recovery import dead_letters
from worker.recovery.summary import Summary

DIED_MS = 1_768_478_400_000


async def test_a_dead_command_whose_key_holds_what_no_table_takes_does_not_stop_a_recovery(database_url: str) -> None:
    record = Record(COMMANDS, 1, 7, b"order\0-\xff1", b"{}", [], DIED_MS)
    sent, _ = dead_letter(record, "invalid", "no command", "shop.", bytes_max=1_000_000)
    letter = Record(sent.topic, 1, 0, sent.key, sent.value, sent.headers, DIED_MS)
    connection = await asyncpg.connect(database_url)

    try:
        found = await dead_letters.take_back(connection, [letter], "shop.", Summary(), "delivery")
        row = await connection.fetchrow("SELECT order_id, key FROM delivery.dead_letters")
    finally:
        await connection.close()

    assert found == [(COMMANDS, 1, 7)]
    assert (row["order_id"], row["key"]) == ("order-\ufffd1", b"order\0-\xff1")
