"""Invoices published in Kafka transactions: only committed ones move money."""

import json

from tests.integration.ledger.harness import authorized, invoice
from tests.integration.ledger.test_ledger_worker import send, states
from tests.integration.stream.deployment import LEDGER, StreamDeployment
from tests.transactions import transactional
from worker.kafka import names


async def test_only_an_invoice_whose_transaction_was_committed_is_settled(deployment: StreamDeployment):
    deployment.start("ledger", LEDGER)
    await send(deployment, "order.authorized", authorized("o1"), names.ORDER_CHANGES)
    async with transactional(deployment.settings) as producer:
        for number, value, committed in (("1", 6_000, False), ("2", 3_000, True), ("3", 500, False)):
            await producer.begin_transaction()
            content = json.dumps(invoice("o1", number, value)).encode()
            await producer.send_and_wait(
                deployment.settings.topic(names.INVOICES), content, partition=deployment.home("o1")
            )
            await (producer.commit_transaction() if committed else producer.abort_transaction())

    async def settling() -> bool:
        return any(state["settling"] for state in states(deployment))

    async def read() -> bool:
        query = "SELECT next_offset FROM ledger.positions WHERE topic = $1 AND partition = $2"
        return await deployment.database.fetchval(query, names.INVOICES, deployment.home("o1")) == 6

    await deployment.until(settling, "a settle")
    assert {state["settling"] for state in states(deployment)} <= {0, 3_000}
    await deployment.until(read, "everything read, markers too")
    assert await deployment.database.fetch("SELECT operation, value FROM ledger.commands") == [("settle", 3_000)]
    await deployment.until_quiet()
    assert await deployment.stop("ledger") == 0
    assert (states(deployment)[-1]["invoiced"], states(deployment)[-1]["settling"]) == (3_000, 3_000)
