"""Somebody deletes a topic and makes it anew: nothing that stands there is passed over in silence."""

import asyncio

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError

from tests.integration.stream.hosted import at_work
from tests.integration.stream.world import PARTITIONS, World
from tests.until import until
from worker.kafka import names
from worker.kafka.connecting import administrator
from worker.kafka.source import Source
from worker.kafka.topics import create_missing, partition_counts


async def test_what_stands_in_a_topic_that_was_made_anew_is_not_passed_over(world: World):
    """Its offsets are those of the old one again: a position would lie behind records that nobody has read."""
    world.start("a")
    await world.until_shared(PARTITIONS)
    await world.send_many([("order-1", b"{}", 2)] * 3)
    await world.until_seen(3)
    assert await world.stop("a") == 0
    await make_anew(world)
    await world.send_many([("order-1", b"{}", 2)] * 5)

    process = world.start("b")
    code = await asyncio.to_thread(process.wait, 30)

    assert code == 1
    place = f"{world.settings.topic(names.INVOICES)} partition 2"
    said = "the stored position is offset 3, but the topic was deleted and made anew, and has offsets 0 to 5"
    assert f"{place}: {said}" in world.log("b")

    await world.database.execute("TRUNCATE public.toy_seen")
    answered = "UPDATE ledger.positions SET next_offset = 0, topic_id = NULL WHERE topic = $1"
    await world.database.execute(answered, names.INVOICES)
    world.start("c")
    await world.until_seen(5)


async def test_every_position_that_is_gone_is_named_at_once(world: World):
    """Whoever set the one that was named was told the next one at the next start, as many times as there are."""
    world.start("a")
    await world.until_shared(PARTITIONS)
    await world.send_many([("order-1", b"{}", one) for one in range(PARTITIONS)])
    await world.until_seen(PARTITIONS)
    assert await world.stop("a") == 0
    await make_anew(world)

    code = await asyncio.to_thread(world.start("b").wait, 30)

    assert code == 1
    topic = world.settings.topic(names.INVOICES)
    unnamed = [one for one in range(PARTITIONS) if f"{topic} partition {one}: the stored" not in world.log("b")]
    assert not unnamed


async def test_a_topic_that_is_made_anew_under_a_running_worker_ends_it(world: World):
    process = world.start("a")
    await world.until_shared(PARTITIONS)
    await world.send("order-1", partition=2)
    await world.until_seen(1)

    await make_anew(world)
    await world.send_many([("order-1", b"{}", 2)] * 5)
    code = await asyncio.to_thread(process.wait, 30)

    assert code == 1
    assert "the topic was deleted and made anew, and has offsets 0 to 5" in world.log("a")


async def test_a_topic_that_is_made_anew_is_noticed_also_by_who_takes_more_of_its_partitions_just_then(world: World):
    """Of those that it had before it would go on at offsets of the old topic."""
    source = Source(world.settings, "ledger", (names.INVOICES,), lambda: None)
    await source.start()
    await source.looker.ids()
    await make_anew(world)

    with pytest.raises(UnknownTopicOrPartitionError, match="was deleted and made anew"):
        await source.looker.ids()

    await source.stop()


async def test_a_fetch_that_finds_its_position_gone_says_whether_that_is_another_topic(world: World):
    """It said where the new one ends, as of one that had lost records; whoever takes the partition again names it."""
    source = Source(world.settings, "ledger", (names.INVOICES,), lambda: None)
    await source.start()
    await source.looker.ids()
    await make_anew(world)

    await source.assign({(names.INVOICES, 2): 3})
    await until(source.waiting, seconds=20)
    with pytest.raises(UnknownTopicOrPartitionError, match="was deleted and made anew"):
        source.take(1, 1)

    await source.stop()


async def test_a_topic_that_is_made_anew_before_anything_was_read_of_it_is_read_from_its_beginning(world: World):
    world.start("a")
    await world.until_shared(PARTITIONS)
    assert await world.stop("a") == 0
    await make_anew(world)
    await world.send_many([("order-1", b"{}", 2)] * 2)

    world.start("b")
    await world.until_seen(2)


async def test_a_topic_that_somebody_deletes_is_named_until_it_is_there_again(world: World):
    worker = await at_work(world)
    topic = world.settings.topic(names.INVOICES + names.DEAD_LETTER_SUFFIX)
    missing = f"the topic {topic} is missing: `settlement topics` creates it"
    await delete(world, names.INVOICES + names.DEAD_LETTER_SUFFIX)
    await world.send("order-1", b"refuse")

    async def named() -> bool:
        return worker.runner.condition().get("problem") == missing

    await world.until(named, "the worker names the topic")
    await create_missing(world.settings)

    async def told() -> bool:
        return not await world.database.fetchval("SELECT count(*) FROM ledger.outbox") and not worker.runner.condition()

    await world.until(told, "the dead letter is told")
    await worker.stop()


async def test_a_dead_letter_of_a_topic_that_was_made_anew_is_the_one_that_died_there(world: World):
    """It has the place of one that died in the old topic: shown and replayed was that one."""
    world.start("a")
    await world.until_shared(PARTITIONS)
    await world.send("order-old", b"refuse", 2)
    kept = "SELECT convert_from(key, 'UTF8') FROM ledger.dead_letters WHERE status = 'open' AND returned_at IS NULL"

    async def dead(order_id: str) -> bool:
        return await world.database.fetchval(kept) == order_id

    await world.until(lambda: dead("order-old"), "the first one is dead")
    replayed = "UPDATE ledger.dead_letters SET returned_partition = 2, returned_offset = 7, returned_at = now()"
    await world.database.execute(replayed)
    assert await world.stop("a") == 0
    await make_anew(world)
    await world.send("order-new", b"refuse", 2)
    answered = "UPDATE ledger.positions SET next_offset = 0, topic_id = NULL WHERE topic = $1"
    await world.database.execute(answered, names.INVOICES)

    world.start("b")
    await world.until(lambda: dead("order-new"), "the other one is dead")


async def make_anew(world: World) -> None:
    """The invoices' topic is deleted, and another one has its name."""
    await delete(world, names.INVOICES)
    assert await create_missing(world.settings) == [world.settings.topic(names.INVOICES)]


async def delete(world: World, name: str) -> None:
    """No broker knows the topic any more."""
    async with administrator(world.settings) as admin:
        await admin.delete_topics([world.settings.topic(name)])

        async def gone() -> bool:
            return not await partition_counts(admin, world.settings, [name])

        await world.until(gone, "the topic is gone")
