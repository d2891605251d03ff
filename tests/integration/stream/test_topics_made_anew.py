"""Somebody deletes a topic and makes it anew: nothing that stands there is passed over in silence."""

import asyncio

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError

from tests.integration.stream.deployment import PARTITIONS, StreamDeployment
from tests.integration.stream.hosted import at_work
from tests.until import until
from worker.kafka import names
from worker.kafka.connecting import admin_client
from worker.kafka.source import Source
from worker.kafka.topics import create_missing, partition_counts


async def test_what_stands_in_a_topic_that_was_made_anew_is_not_passed_over(deployment: StreamDeployment):
    """Its offsets are those of the old one again: a position would lie behind records that nobody has read."""
    deployment.start("a")
    await deployment.until_shared(PARTITIONS)
    await deployment.send_many([("order-1", b"{}", 2)] * 3)
    await deployment.until_seen(3)
    assert await deployment.stop("a") == 0
    await make_anew(deployment)
    await deployment.send_many([("order-1", b"{}", 2)] * 5)

    process = deployment.start("b")
    code = await asyncio.to_thread(process.wait, 30)

    assert code == 1
    place = f"{deployment.settings.topic(names.INVOICES)} partition 2"
    said = "the stored position is offset 3, but the topic was deleted and made anew, and has offsets 0 to 5"
    assert f"{place}: {said}" in deployment.log("b")

    await deployment.database.execute("TRUNCATE public.toy_seen")
    answered = "UPDATE ledger.positions SET next_offset = 0, topic_id = NULL WHERE topic = $1"
    await deployment.database.execute(answered, names.INVOICES)
    deployment.start("c")
    await deployment.until_seen(5)


async def test_every_position_that_is_gone_is_named_at_once(deployment: StreamDeployment):
    """Whoever set the one that was named was told the next one at the next start, as many times as there are."""
    deployment.start("a")
    await deployment.until_shared(PARTITIONS)
    await deployment.send_many([("order-1", b"{}", one) for one in range(PARTITIONS)])
    await deployment.until_seen(PARTITIONS)
    assert await deployment.stop("a") == 0
    await make_anew(deployment)

    code = await asyncio.to_thread(deployment.start("b").wait, 30)

    assert code == 1
    topic = deployment.settings.topic(names.INVOICES)
    unnamed = [one for one in range(PARTITIONS) if f"{topic} partition {one}: the stored" not in deployment.log("b")]
    assert not unnamed


async def test_a_topic_that_is_made_anew_under_a_running_worker_ends_it(deployment: StreamDeployment):
    process = deployment.start("a")
    await deployment.until_shared(PARTITIONS)
    await deployment.send("order-1", partition=2)
    await deployment.until_seen(1)

    await make_anew(deployment)
    await deployment.send_many([("order-1", b"{}", 2)] * 5)
    code = await asyncio.to_thread(process.wait, 30)

    assert code == 1
    assert "the topic was deleted and made anew, and has offsets 0 to 5" in deployment.log("a")


async def test_a_topic_that_is_made_anew_is_noticed_also_by_who_takes_more_of_its_partitions_just_then(
    deployment: StreamDeployment,
):
    """Of those that it had before it would go on at offsets of the old topic."""
    source = Source(deployment.settings, "ledger", (names.INVOICES,), lambda: None)
    await source.start()
    await source.inspector.topic_ids()
    await make_anew(deployment)

    with pytest.raises(UnknownTopicOrPartitionError, match="was deleted and made anew"):
        await source.inspector.topic_ids()

    await source.stop()


async def test_a_fetch_that_finds_its_position_gone_says_whether_that_is_another_topic(deployment: StreamDeployment):
    """It said where the new one ends, as of one that had lost records; whoever takes the partition again names it."""
    source = Source(deployment.settings, "ledger", (names.INVOICES,), lambda: None)
    await source.start()
    await source.inspector.topic_ids()
    await make_anew(deployment)

    await source.assign({(names.INVOICES, 2): 3})
    await until(source.has_records, seconds=20)
    with pytest.raises(UnknownTopicOrPartitionError, match="was deleted and made anew"):
        source.take(1, 1)

    await source.stop()


async def test_a_topic_that_is_made_anew_before_anything_was_read_of_it_is_read_from_its_beginning(
    deployment: StreamDeployment,
):
    deployment.start("a")
    await deployment.until_shared(PARTITIONS)
    assert await deployment.stop("a") == 0
    await make_anew(deployment)
    await deployment.send_many([("order-1", b"{}", 2)] * 2)

    deployment.start("b")
    await deployment.until_seen(2)


async def test_a_topic_that_somebody_deletes_is_named_until_it_is_there_again(deployment: StreamDeployment):
    worker = await at_work(deployment)
    topic = deployment.settings.topic(names.INVOICES + names.DEAD_LETTER_SUFFIX)
    missing = f"the topic {topic} is missing: `settlement topics` creates it"
    await delete(deployment, names.INVOICES + names.DEAD_LETTER_SUFFIX)
    await deployment.send("order-1", b"refuse")

    async def named() -> bool:
        return worker.runner.condition().get("problem") == missing

    await deployment.until(named, "the worker names the topic")
    await create_missing(deployment.settings)

    async def told() -> bool:
        return (
            not await deployment.database.fetchval("SELECT count(*) FROM ledger.outbox")
            and not worker.runner.condition()
        )

    await deployment.until(told, "the dead letter is told")
    await worker.stop()


async def test_a_dead_letter_of_a_topic_that_was_made_anew_is_the_one_that_died_there(deployment: StreamDeployment):
    """It has the place of one that died in the old topic: shown and replayed was that one."""
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
    await make_anew(deployment)
    await deployment.send("order-new", b"refuse", 2)
    answered = "UPDATE ledger.positions SET next_offset = 0, topic_id = NULL WHERE topic = $1"
    await deployment.database.execute(answered, names.INVOICES)

    deployment.start("b")
    await deployment.until(lambda: dead("order-new"), "the other one is dead")


async def make_anew(deployment: StreamDeployment) -> None:
    """The invoices' topic is deleted, and another one has its name."""
    await delete(deployment, names.INVOICES)
    assert await create_missing(deployment.settings) == [deployment.settings.topic(names.INVOICES)]


async def delete(deployment: StreamDeployment, name: str) -> None:
    """No broker knows the topic any more."""
    async with admin_client(deployment.settings) as admin:
        await admin.delete_topics([deployment.settings.topic(name)])

        async def gone() -> bool:
            return not await partition_counts(admin, deployment.settings, [name])

        await deployment.until(gone, "the topic is gone")
