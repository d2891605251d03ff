"""Commands that exceed the size limit of inputs, as they repeat the recipients of their payment."""

from tests.integration.delivery.harness import DeliveryHarness
from worker.kafka.envelope import VALUE_BYTES_MAX

RECIPIENTS = 242
RECIPIENT = {"id": "seller", "name": "x" * 4_096, "documentType": "CNPJ", "document": "1", "role": "seller",
             "amount": 1, "commissionAmount": None}  # fmt: skip


async def test_a_command_larger_than_any_input_is_sent_and_gets_its_outcome(delivery: DeliveryHarness):
    record = delivery.send("a", value=RECIPIENTS, recipients=[RECIPIENT] * RECIPIENTS)
    assert len(record.value or b"") > VALUE_BYTES_MAX

    await delivery.run_until(("a", "succeeded"))

    assert delivery.effects() == ["a"]
    assert delivery.outcomes() == [("succeeded", "a")]
