-- name: add_unknown_orders
-- Gives unknown orders a row, not opened yet. Sorted, so that two workers with the same orders do not deadlock.
INSERT INTO orders (order_id, partition)
SELECT order_id, partition FROM unnest($1::text[], $2::integer[]) AS named (order_id, partition)
ORDER BY order_id
ON CONFLICT (order_id) DO NOTHING

-- name: lock_orders
-- Locks the orders of the batch until this transaction ends; they are read as they are once the lock is held.
SELECT order_id, partition, document, facts, told, parked FROM orders WHERE order_id = ANY ($1::text[])
ORDER BY order_id FOR UPDATE

-- name: read_parked
-- The parked facts of these orders, in the order in which they were stored.
SELECT id, order_id, waits_for, subject, topic, partition, "offset", key, value, headers, "timestamp", expires_at
FROM parked WHERE order_id = ANY ($1::text[]) ORDER BY id

-- name: expired_parked
-- Parked facts of these orders that waited for too long, the first expired first.
SELECT id, order_id, waits_for, subject, topic, partition, "offset", key, value, headers, "timestamp", expires_at
FROM unnest($1::text[]) AS named (of_order), LATERAL (
    SELECT * FROM parked WHERE parked.order_id = of_order AND expires_at <= $2::timestamptz
    ORDER BY expires_at LIMIT $3
) AS late
LIMIT $3

-- name: next_expiry_of_parked
-- When the next parked fact of each of these orders expires, apart from the facts that were read.
SELECT order_id, (
    SELECT expires_at FROM parked WHERE parked.order_id = named.order_id AND id <> ALL ($2::bigint[])
    ORDER BY expires_at LIMIT 1
) AS expires_at
FROM unnest($1::text[]) AS named (order_id)

-- name: unpublished_facts
-- Facts of these orders after the last one that a published message carries.
SELECT f.order_id, f.sequence, f.fact, f.terms, f.topic, f.partition, f."offset"
FROM facts f JOIN orders o ON o.order_id = f.order_id AND f.sequence > o.told
WHERE f.order_id = ANY ($1::text[]) ORDER BY f.order_id, f.sequence

-- name: owners_of_payments
-- To which order each of these payments belongs.
SELECT payment_id, order_id FROM payments WHERE payment_id = ANY ($1::text[])

-- name: due_orders
-- Orders of our home partitions whose deadline has come, the longest overdue first, with their sizes. Each partition is read
-- by itself: with `partition = ANY`, the index gives no order, and all that is due would be read and sorted.
SELECT order_id, bytes FROM unnest($1::integer[]) AS owned (home), LATERAL (
    SELECT order_id, coalesce(octet_length(document), 0) AS bytes, wake_at FROM orders
    WHERE partition = home AND wake_at <= $2::timestamptz AND NOT order_id = ANY ($4::text[])
    ORDER BY wake_at LIMIT $3
) AS due
ORDER BY wake_at LIMIT $3

-- name: next_wake
-- The next deadline in these partitions, beyond those that are due: the first of each partition, as above.
SELECT min(wake_at) FROM unnest($1::integer[]) AS owned (home), LATERAL (
    SELECT wake_at FROM orders WHERE partition = home AND wake_at > $2::timestamptz ORDER BY wake_at LIMIT 1
) AS ahead

-- name: named_orders
-- Orders of our home partitions whose missing connectors all have a name now, with their sizes. The index has the first of
-- them; an order whose connectors were all named while it was being written has none.
SELECT order_id, coalesce(octet_length(document), 0) AS bytes FROM orders
WHERE partition = ANY ($1::integer[]) AND awaits IS NOT NULL
    AND coalesce(awaits[1], '') = ANY (array_append($2::text[], '')) AND awaits <@ $2::text[]
    AND NOT order_id = ANY ($4::text[])
LIMIT $3

-- name: awaited_connectors
-- The connectors that orders of these partitions wait for, each with up to $2 of the orders, longest unchanged first.
SELECT name, (array_agg(order_id ORDER BY updated_at, order_id))[:$2] AS orders
FROM orders, unnest(awaits) AS name WHERE partition = ANY ($1::integer[]) AND awaits IS NOT NULL GROUP BY name

-- name: write_orders
-- The new state of each order.
UPDATE orders SET
    opened = new.opened, merchant = new.merchant, phase = new.phase, attention = new.attention,
    needs_authorization = new.needs_authorization, awaits = new.awaits, version = new.version, facts = new.facts,
    told = new.told, parked = new.parked, wake_at = new.wake_at, document = new.document, updated_at = new.updated_at
FROM unnest($1::order_standing[]) AS new
WHERE orders.order_id = new.order_id

-- name: add_payments
-- New payments; the table's key refuses one of another order.
INSERT INTO payments (payment_id, order_id, connector, currency, authorized, cap, settled, settling, refunded, refunding,
    voided, voiding, lapsed)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::boolean[])

-- name: add_commands
-- New commands; the table's keys refuse an id or a place in a payment's line that was given before.
INSERT INTO commands (command_id, request_id, order_id, payment_id, sequence, operation, value)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::bigint[])

-- name: add_facts
-- New facts; the table's keys refuse a record that is one already.
INSERT INTO facts (order_id, sequence, fate, fact, terms, topic, partition, "offset", decided_at, items)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bytea[], $5::bytea[], $6::text[], $7::integer[],
    $8::bigint[], $9::timestamptz[], $10::text[])

-- name: add_events
-- New events, as they are published.
INSERT INTO events (order_id, sequence, message) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[])

-- name: add_entries
-- New links of the chains.
INSERT INTO entries (chain, place, order_id, fact, payment_id, debit, credit, amount, currency, rule, command_id, hash)
SELECT * FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
    $8::bigint[], $9::text[], $10::text[], $11::text[], $12::bytea[])

-- name: update_payments
-- New balances of known payments; the table refuses what I2 and I3 forbid.
UPDATE payments SET settled = new.settled, settling = new.settling, refunded = new.refunded, refunding = new.refunding,
    voided = new.voided, voiding = new.voiding, lapsed = new.lapsed
FROM unnest($1::balances[]) AS new
WHERE payments.payment_id = new.payment_id

-- name: write_settlements
-- Captures, new or with a changed refunded part.
INSERT INTO settlements (payment_id, settle_id, value, refunded, refunding, automatic)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[])
ON CONFLICT (payment_id, settle_id) DO UPDATE SET
    value = excluded.value, refunded = excluded.refunded, refunding = excluded.refunding, automatic = excluded.automatic

-- name: remove_settlements
-- Automatic settlements that turned out to be a command of ours (R27).
DELETE FROM settlements USING unnest($1::text[], $2::text[]) AS gone (payment_id, settle_id)
WHERE settlements.payment_id = gone.payment_id AND settlements.settle_id = gone.settle_id

-- name: read_chains
-- The last link of each chain.
SELECT chain, place, hash FROM chains WHERE chain = ANY ($1::integer[])

-- name: write_chains
-- The new last links.
INSERT INTO chains (chain, place, hash) SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bytea[])
ON CONFLICT (chain) DO UPDATE SET place = excluded.place, hash = excluded.hash

-- name: park
-- Keeps a fact that waits, byte for byte.
INSERT INTO parked (order_id, waits_for, subject, topic, partition, "offset", key, value, headers, "timestamp", expires_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::bigint[], $7::bytea[],
    $8::bytea[], $9::bytea[], $10::timestamptz[], $11::timestamptz[])

-- name: unpark
-- Removes records that no longer wait.
DELETE FROM parked WHERE id = ANY ($1::bigint[])

-- name: wait_for_something_else
-- A record that was tried and still waits keeps its row, and so its place in the line.
UPDATE parked SET waits_for = new.waits_for, expires_at = new.expires_at
FROM unnest($1::bigint[], $2::text[], $3::timestamptz[]) AS new (id, waits_for, expires_at)
WHERE parked.id = new.id

-- name: account
-- How many records were handled, and how many of them were repeats; sorted, since others may count here too.
INSERT INTO consumed (topic, partition, records, duplicates, next_offset)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[])
    AS more (topic, partition, records, duplicates, next_offset)
ORDER BY topic, partition
ON CONFLICT (topic, partition) DO UPDATE SET
    records = consumed.records + excluded.records, duplicates = consumed.duplicates + excluded.duplicates,
    next_offset = greatest(consumed.next_offset, excluded.next_offset)

-- name: read_consumed
-- Up to where records were handled.
SELECT topic, partition, next_offset FROM consumed WHERE partition = ANY ($1::integer[])

-- name: known_places
-- Which of these places have a fact, a dead letter or a parked record, and whether it is of these very records.
SELECT topic, partition, "offset", bool_or(same) AS same
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bytea[], $5::bytea[], $6::text[], $7::bytea[])
    AS again (topic, partition, "offset", key, value, order_id, fact),
LATERAL (
    SELECT f.order_id = again.order_id AND f.fact = again.fact FROM facts f
    WHERE (f.topic, f.partition, f."offset") = (again.topic, again.partition, again."offset")
    UNION ALL
    SELECT (d.key, d.value) IS NOT DISTINCT FROM (again.key, again.value) FROM dead_letters d
    WHERE (d.topic, d.partition, d."offset") = (again.topic, again.partition, again."offset")
    UNION ALL
    SELECT (p.key, p.value) IS NOT DISTINCT FROM (again.key, again.value) FROM parked p
    WHERE (p.topic, p.partition, p."offset") = (again.topic, again.partition, again."offset")) AS found (same)
GROUP BY topic, partition, "offset"

-- name: lowest_place
-- The lowest offset in use: records whose offset belongs to another record have places below 0.
SELECT least(0, (SELECT min("offset") FROM facts WHERE topic = $1 AND partition = $2),
    (SELECT min("offset") FROM dead_letters WHERE topic = $1 AND partition = $2),
    (SELECT min("offset") FROM parked WHERE topic = $1 AND partition = $2))

-- name: replayed_dead_letters
-- Which of these records are the first to replay the dead letter that they name. A discarded one is not judged again.
SELECT DISTINCT ON (id) id, again.topic, again.partition, again."offset"
FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::bigint[]) AS again (named, topic, partition, "offset")
JOIN dead_letters d ON d.id = again.named AND d.topic = again.topic
WHERE status <> 'discarded' AND (returned_at IS NULL
    OR (returned_partition, returned_offset) = (again.partition, again."offset"))
ORDER BY id, again.partition, again."offset"

-- name: mark_returned
-- Marks dead letters as replayed. Who asked for it is in the row, or in the act recorded before the publication.
UPDATE dead_letters SET
    returned_partition = coalesce(returned_partition, back.partition),
    returned_offset = coalesce(returned_offset, back."offset"), returned_at = coalesce(returned_at, $4::timestamptz),
    status = 'replayed', decided_at = coalesce(decided_at, $4::timestamptz),
    decided_by = coalesce(dead_letters.decided_by, asked.decided_by, 'settlement-replay'),
    decided_reason = coalesce(decided_reason, asked.reason)
FROM unnest($1::bigint[], $2::integer[], $3::bigint[]) AS back (id, partition, "offset")
LEFT JOIN LATERAL (
    SELECT decided_by, reason FROM people.acts WHERE dead_letter = back.id AND action = 'replay' ORDER BY acts.id DESC LIMIT 1
) AS asked ON true
WHERE dead_letters.id = back.id

-- name: read_orders_unlocked
-- Orders as they are now, without a lock.
SELECT order_id, partition, document, facts, told, parked FROM orders WHERE order_id = ANY ($1::text[])

-- name: count_parked
-- How many facts of these partitions wait, by what they wait for.
SELECT waits_for, count(*) AS number FROM parked WHERE partition = ANY ($1::integer[]) GROUP BY waits_for
