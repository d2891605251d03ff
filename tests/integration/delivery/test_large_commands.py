"""A command repeats the recipients of its payment in more words than the authorization did."""

from tests.integration.delivery.world import DeliveryWorld
from worker.kafka.envelope import VALUE_BYTES_MAX

RECIPIENTS = 242
RECIPIENT = {"id": "seller", "name": "x" * 4_096, "documentType": "CNPJ", "document": "1", "role": "seller",
             "amount": 1, "commissionAmount": None}  # fmt: skip


async def test_a_command_larger_than_any_input_is_sent_and_has_its_outcome(world: DeliveryWorld):
    record = world.take("a", value=RECIPIENTS, recipients=[RECIPIENT] * RECIPIENTS)
    assert len(record.value or b"") > VALUE_BYTES_MAX

    await world.until(("a", "succeeded"))

    assert world.effects() == ["a"]
    assert world.outcomes() == [("succeeded", "a")]
