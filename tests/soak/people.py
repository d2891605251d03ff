"""Somebody who decides, at random, about what needs a person, and asks the connectors what they did."""

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx

from worker.people import commands
from worker.people.acting import Actor, Refused
from worker.people.needs import Need, find_needs
from worker.postgres.connecting import Connection, connected

NEEDS_MAX = 500
DECISIONS_MAX = 50  # at once
READ_SECONDS_MAX = 60.0

Books = dict[str, dict[str, dict[str, Any]]]
"""Connector → request id → what it did."""


class People:
    """Decides about amounts and commands; what it decided is counted."""

    def __init__(self, database_url: str, urls: Mapping[str, str], dice: random.Random) -> None:
        self._database_url = database_url
        self._urls = urls
        self._dice = dice
        self.decided = Counter[str]()

    async def decide(self) -> int:
        """Decides about some of what needs a person; returns how much did. Amounts that wait for money do not."""
        async with connected(self._database_url, name="soak people", schema="ledger") as connection:
            found = (await find_needs(connection, limit=NEEDS_MAX)).latest
            needs = [need for need in found if need.acts and not need.noted]
            books = await self._books({str(need.connector) for need in needs if "resolve" in need.acts})
            for need in self._dice.sample(needs, min(len(needs), DECISIONS_MAX)):
                act = self._dice.choice(need.acts)
                try:
                    await self._decide(connection, need, act, books)
                    self.decided[act] += 1
                except Refused:  # it has changed meanwhile
                    self.decided["refused"] += 1
            return sum(need.need != "waiting" for need in found)

    async def _decide(self, connection: Connection, need: Need, act: str, books: Books) -> None:
        actor = Actor("soak", f"decision {self.decided.total()}")
        if need.command_id is None:
            await commands.abandon_amount(
                connection, actor, need.order_id, invoice=need.invoice_number, settle_id=need.settle_id
            )
        elif act == "retry":
            await commands.retry(connection, actor, need.command_id)
        elif act == "abandon":
            await commands.abandon(connection, actor, need.command_id)
        else:
            command = await commands.read_command(connection, need.command_id)
            effect = books[command["connector"]].get(command["asked"]["requestId"])
            done, operation_id = (effect["value"], effect["operationId"]) if effect else (None, None)
            await commands.resolve(connection, actor, need.command_id, done=done, operation_id=operation_id)

    async def _books(self, connectors: set[str]) -> Books:
        books: Books = {}
        async with httpx.AsyncClient(trust_env=False, timeout=READ_SECONDS_MAX) as client:
            for connector in connectors:
                book = (await client.get(f"{self._urls[connector]}/book")).raise_for_status().json()
                books[connector] = {effect["requestId"]: effect for effect in book["effects"]}
        return books
