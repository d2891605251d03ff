"""Random histories of orders: the ledger passes the audit and the rebuild after each."""

import random
from typing import Any

import pytest

from tests.contract.emitted import complaints
from tests.integration.ledger.harness import (
    CONNECTORS,
    PARTITIONS,
    LedgerHarness,
    authorized,
    invoice,
    outcome,
    payment,
)
from worker.kafka import names
from worker.ledger.checking import run_audit, run_rebuild

ORDERS = 12
ROUNDS = 40
MODES = "".join(
    CONNECTORS.replace("connectors.c1", f"connectors.{name}").replace('"PARTIAL"', f'"{mode}"')
    for name, mode in (("c1", "PARTIAL"), ("c2", "TOTAL"), ("c3", "HOLD"))
)


class History:
    """Draws the next records at random; one seed gives one history."""

    def __init__(self, ledger: LedgerHarness, seed: int) -> None:
        self.ledger, self.dice = ledger, random.Random(seed)
        self.connectors = {f"o{place}": self.dice.choice(["c1", "c1", "c1", "c2", "c3"]) for place in range(ORDERS)}
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def draw(self) -> None:
        """Sends one record: a new fact, a repeat, or the outcome of a command."""
        dice = self.dice
        if dice.random() < 0.1 and self.sent:
            self._send(*dice.choice(self.sent))
            return
        order = f"o{dice.randrange(ORDERS)}"
        kinds = [self.authorize, self.invoice, self.invoice, self.refund, self.change, self.settle, self.pay]
        if dice.random() < 0.05:
            kinds.append(self.cancel)
        commands = [command for command in self.ledger.published(names.COMMANDS) if command["orderId"] == order]
        if commands and dice.random() < 0.5:
            self.report(dice.choice(commands))
        else:
            dice.choice(kinds)(order)

    def authorize(self, order: str) -> None:
        dice = random.Random(order)
        payments = [
            {"value": dice.randint(1, 9000), "connector": self.connectors[order], "maxValue": dice.randint(0, 12_000),
             **({"referenceValue": dice.randint(1, 9000)} if dice.random() < 0.3 else {}),
             **({"expiresAt": "2026-01-15T14:00:00Z"} if dice.random() < 0.3 else {})}
            for _ in range(dice.randint(1, 3))
        ]  # fmt: skip
        total = sum(given.get("referenceValue", given["value"]) for given in payments)
        self._send("order.authorized", authorized(order, total, payments))

    def invoice(self, order: str) -> None:
        self._send("invoice.issued", invoice(order, str(self.dice.randint(1, 9)), self.dice.randint(1, 6000)))

    def refund(self, order: str) -> None:
        number, value = f"r{self.dice.randint(1, 5)}", self.dice.randint(1, 4000)
        self._send("invoice.issued", invoice(order, number, value, "Input"))

    def change(self, order: str) -> None:
        self._send("order.changed", {
            "orderId": order, "requestId": f"c{self.dice.randint(1, 9)}", "reason": "r",
            "discountValue": self.dice.randint(0, 3000), "incrementValue": self.dice.choice([0, 0, 500, 2500]),
        })  # fmt: skip

    def settle(self, order: str) -> None:
        payment_id, settle_id = f"{order}.p{self.dice.randint(1, 3)}", f"auto{self.dice.randint(1, 2)}"
        value = self.dice.randint(1, 9000)
        data = {"orderId": order, "paymentId": payment_id, "settleId": settle_id, "value": value}
        self._send("payment.auto_settled", data)

    def pay(self, order: str) -> None:
        if self.dice.random() < 0.2:
            late = payment(f"{order}.late", self.dice.randint(1, 3000), self.connectors[order])
            self._send("payment.authorized", {"orderId": order, "payment": late})

    def cancel(self, order: str) -> None:
        self._send("order.cancel_requested", {"orderId": order, "reason": "r"})

    def report(self, command: dict[str, Any]) -> None:
        """Sends an outcome: mostly a correct one, sometimes a wrong one, or an operator's decision."""
        dice, value = self.dice, command["value"]
        at = f"2026-01-15T12:{dice.randint(0, 59):02d}:00Z"
        nothing = {"value": 0, "operationId": None}
        operator = {"value": 0, "by": "Ann", "reason": "r"}
        kind, more = dice.choice([
            ("succeeded", {}), ("succeeded", {}), ("succeeded", {}), ("succeeded", {"value": dice.randint(1, value)}),
            ("declined", nothing), ("unknown", nothing), ("manual", nothing), ("suspect", nothing),
            ("retried", operator), ("abandoned", operator),
            ("resolved", operator | {"value": dice.choice([0, value, value // 2, value + 5])}),
        ])  # fmt: skip
        self._send(f"command.{kind}", outcome(command, at=at, **more))

    def _send(self, kind: str, data: dict[str, Any]) -> None:
        self.sent.append((kind, data))
        place = self.dice.randrange(PARTITIONS) if self.dice.random() < 0.2 else None
        self.ledger.send(kind, data, partition=place)


@pytest.mark.parametrize("seed", range(8))
async def test_the_ledger_passes_the_audit_and_the_rebuild_after_any_history(ledger: LedgerHarness, seed: int):
    ledger.file.write_text(MODES)
    ledger.handler.reload()
    history = History(ledger, seed)

    for _ in range(ROUNDS):
        for _ in range(history.dice.choice([1, 3, 20])):
            history.draw()
        ledger.now_ms += history.dice.randint(0, 400_000)
        await ledger.cycle()

    verdict, rebuilt = await run_audit(ledger.settings), await run_rebuild(ledger.settings)
    assert verdict["findings"] == []
    assert rebuilt["differences"] == []
    assert complaints(ledger.outgoing) == []
    assert ("erp.invoices.v1", "internal") not in ledger.dead()
    assert not [reason for _, reason in ledger.dead() if reason == "internal"]
    assert verdict["checked"]["commands"] > 20, "the history was about money"
