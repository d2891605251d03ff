"""Recreated topics: a worker never skips records of a topic that was deleted and created again."""

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError

from tests.integration.stream.deployment import PARTITIONS, StreamDeployment
from tests.integration.stream.in_process_worker import start_and_consume
from tests.until import until
from worker.kafka import names
from worker.kafka.connecting import admin_client
from worker.kafka.source import Source
from worker.kafka.topics import create_missing, partition_counts


async def test_a_worker_exits_at_a_recreated_topic_until_its_position_is_set(deployment: StreamDeployment):
    """Its offsets begin again at 0: the stored position would skip unread records."""
    deployment.start("a")
    await deployment.until_shared(PARTITIONS)
    await deployment.send_many([("order-1", b"{}", 2)] * 3)
    await deployment.until_seen(3)
    assert await deployment.stop("a") == 0
    await recreate_invoices(deployment)
    await deployment.send_many([("order-1", b"{}", 2)] * 5)

    deployment.start("b")

    assert await deployment.exit_code("b") == 1
    place = f"{deployment.settings.topic(names.INVOICES)} partition 2"
    message = "the stored position is offset 3, but the topic was deleted and made anew, and has offsets 0 to 5"
    assert f"{place}: {message}" in deployment.log("b")

    await deployment.database.execute("TRUNCATE public.toy_seen")
    set_position = "UPDATE ledger.positions SET next_offset = 0, topic_id = NULL WHERE topic = $1"
    await deployment.database.execute(set_position, names.INVOICES)
    deployment.start("c")
    await deployment.until_seen(5)


async def test_a_worker_names_every_lost_position_at_once(deployment: StreamDeployment):
    """An operator who set the named position was told the next one at the next start, and so on."""
    deployment.start("a")
    await deployment.until_shared(PARTITIONS)
    await deployment.send_many([("order-1", b"{}", partition) for partition in range(PARTITIONS)])
    await deployment.until_seen(PARTITIONS)
    assert await deployment.stop("a") == 0
    await recreate_invoices(deployment)

    deployment.start("b")

    assert await deployment.exit_code("b") == 1
    topic = deployment.settings.topic(names.INVOICES)
    log = deployment.log("b")
    unnamed = [number for number in range(PARTITIONS) if f"{topic} partition {number}: the stored" not in log]
    assert not unnamed


async def test_a_running_worker_exits_when_its_topic_is_recreated(deployment: StreamDeployment):
    deployment.start("a")
    await deployment.until_shared(PARTITIONS)
    await deployment.send("order-1", partition=2)
    await deployment.until_seen(1)

    await recreate_invoices(deployment)
    await deployment.send_many([("order-1", b"{}", 2)] * 5)

    assert await deployment.exit_code("a") == 1
    assert "the topic was deleted and made anew, and has offsets 0 to 5" in deployment.log("a")


async def test_reading_the_topic_ids_again_raises_when_a_topic_was_recreated(
    deployment: StreamDeployment,
):
    """A worker that takes more partitions asks again: it would read those it had at offsets of the old topic."""
    source = Source(deployment.settings, "ledger", (names.INVOICES,), lambda: None)
    await source.start()
    await source.inspector.topic_ids()
    await recreate_invoices(deployment)

    with pytest.raises(UnknownTopicOrPartitionError, match="was deleted and made anew"):
        await source.inspector.topic_ids()

    await source.stop()


async def test_a_fetch_at_a_lost_position_reports_that_the_topic_was_recreated(deployment: StreamDeployment):
    """It reported lost records and where the new topic ends, as if it were still the old topic."""
    source = Source(deployment.settings, "ledger", (names.INVOICES,), lambda: None)
    await source.start()
    await source.inspector.topic_ids()
    await recreate_invoices(deployment)

    await source.assign({(names.INVOICES, 2): 3})
    await until(source.has_records, seconds=20)
    with pytest.raises(UnknownTopicOrPartitionError, match="was deleted and made anew"):
        source.take(1, 1)

    await source.stop()


async def test_a_topic_recreated_before_it_was_read_is_read_from_its_beginning(
    deployment: StreamDeployment,
):
    await deployment.take_all_and_stop("a")
    await recreate_invoices(deployment)
    await deployment.send_many([("order-1", b"{}", 2)] * 2)

    deployment.start("b")
    await deployment.until_seen(2)


async def test_a_deleted_topic_is_reported_until_it_exists_again(deployment: StreamDeployment):
    worker = await start_and_consume(deployment)
    topic = deployment.settings.topic(names.INVOICES + names.DEAD_LETTER_SUFFIX)
    missing = f"the topic {topic} is missing: `settlement topics` creates it"
    await delete(deployment, names.INVOICES + names.DEAD_LETTER_SUFFIX)
    await deployment.send("order-1", b"refuse")

    async def is_reported() -> bool:
        return worker.runner.condition().get("problem") == missing

    await deployment.until(is_reported, "the missing topic reported")
    await create_missing(deployment.settings)

    async def is_published() -> bool:
        return (
            not await deployment.database.fetchval("SELECT count(*) FROM ledger.outbox")
            and not worker.runner.condition()
        )

    await deployment.until(is_published, "the dead letter published")
    await worker.stop()


async def test_a_dead_letter_of_a_recreated_topic_replaces_the_old_one_at_its_offset(deployment: StreamDeployment):
    """It has the partition and offset of an old topic's dead letter: the old one was shown and replayed."""
    deployment.start("a")
    await deployment.until_shared(PARTITIONS)
    await deployment.send("order-old", b"refuse", 2)
    kept = "SELECT convert_from(key, 'UTF8') FROM ledger.dead_letters WHERE status = 'open' AND returned_at IS NULL"

    async def dead(order_id: str) -> bool:
        return await deployment.database.fetchval(kept) == order_id

    await deployment.until(lambda: dead("order-old"), "the first one is dead")
    replayed = "UPDATE ledger.dead_letters SET returned_partition = 2, returned_offset = 7, returned_at = now()"
    await deployment.database.execute(replayed)
    assert await deployment.stop("a") == 0
    await recreate_invoices(deployment)
    await deployment.send("order-new", b"refuse", 2)
    set_position = "UPDATE ledger.positions SET next_offset = 0, topic_id = NULL WHERE topic = $1"
    await deployment.database.execute(set_position, names.INVOICES)

    deployment.start("b")
    await deployment.until(lambda: dead("order-new"), "the other one is dead")


async def recreate_invoices(deployment: StreamDeployment) -> None:
    """Deletes the invoices' topic and creates another one of that name."""
    await delete(deployment, names.INVOICES)
    assert await create_missing(deployment.settings) == [deployment.settings.topic(names.INVOICES)]


async def delete(deployment: StreamDeployment, name: str) -> None:
    """Deletes a topic and waits until no broker knows it."""
    async with admin_client(deployment.settings) as admin:
        await admin.delete_topics([deployment.settings.topic(name)])

        async def gone() -> bool:
            return not await partition_counts(admin, deployment.settings, [name])

        await deployment.until(gone, "the topic is gone")
