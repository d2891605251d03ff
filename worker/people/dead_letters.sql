-- name: list_dead_letters
-- Dead letters of both workers that match, latest first.
SELECT id, topic, partition, "offset", order_id, merchant, reason, message, status, dead_at, decided_by, decided_reason,
    decided_at, returned_at, octet_length(value) AS bytes
FROM (
    SELECT id, topic, partition, "offset", order_id, merchant, reason, message, status, dead_at, decided_by,
        decided_reason, decided_at, returned_at, key, value FROM ledger.dead_letters
    UNION ALL
    SELECT id, topic, partition, "offset", order_id, merchant, reason, message, status, dead_at, decided_by,
        decided_reason, decided_at, returned_at, key, value FROM delivery.dead_letters
) AS found
WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR topic = $2) AND ($3::text IS NULL OR reason = $3)
    AND ($4::text IS NULL OR merchant = $4)
    AND ($5::text IS NULL OR order_id = $5 OR (order_id IS NULL AND key = convert_to($5, 'UTF8')))
    AND ($6::timestamptz IS NULL OR dead_at >= $6) AND ($7::timestamptz IS NULL OR dead_at <= $7)
ORDER BY dead_at DESC, id DESC LIMIT $8

-- name: pick_dead_letters
-- All that match now, in the order in which they died.
SELECT id, topic, reason FROM (
    SELECT id, topic, order_id, merchant, reason, status, dead_at, key FROM ledger.dead_letters
    UNION ALL SELECT id, topic, order_id, merchant, reason, status, dead_at, key FROM delivery.dead_letters
) AS found
WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR topic = $2) AND ($3::text IS NULL OR reason = $3)
    AND ($4::text IS NULL OR merchant = $4)
    AND ($5::text IS NULL OR order_id = $5 OR (order_id IS NULL AND key = convert_to($5, 'UTF8')))
    AND ($6::timestamptz IS NULL OR dead_at >= $6) AND ($7::timestamptz IS NULL OR dead_at <= $7)
ORDER BY id

-- name: read_dead_letters
-- These dead letters, byte for byte.
SELECT id, topic, partition, "offset", order_id, merchant, reason, message, key, value, headers, "timestamp", dead_at,
    status, decided_by, decided_reason, decided_at, returned_partition, returned_offset, returned_at
FROM ledger.dead_letters WHERE id = ANY ($1::bigint[])
UNION ALL
SELECT id, topic, partition, "offset", order_id, merchant, reason, message, key, value, headers, "timestamp", dead_at,
    status, decided_by, decided_reason, decided_at, returned_partition, returned_offset, returned_at
FROM delivery.dead_letters WHERE id = ANY ($1::bigint[])
ORDER BY id

-- name: became_of_replay
-- What the record is now that was read at this place: a fact, a dead letter, one that waits, or none of them.
SELECT
    (SELECT fate FROM ledger.facts WHERE (topic, partition, "offset") = ($1::text, $2::integer, $3::bigint)) AS fact,
    (SELECT id FROM ledger.dead_letters WHERE (topic, partition, "offset") = ($1::text, $2::integer, $3::bigint))
        AS dead_letter,
    EXISTS (SELECT FROM ledger.parked WHERE (topic, partition, "offset") = ($1::text, $2::integer, $3::bigint)
        AND waits_for <> 'judgement') AS parked

-- name: mark_replayed
-- These are published again. One that the ledger holds is coming back just now, and is marked by it: nobody waits here.
UPDATE ledger.dead_letters SET status = 'replayed', decided_by = $2, decided_reason = $3, decided_at = clock_timestamp()
WHERE id IN (
    SELECT id FROM ledger.dead_letters WHERE id = ANY ($1::bigint[]) AND status = 'open' FOR UPDATE SKIP LOCKED)

-- name: mark_discarded
-- Nobody needs these any more; returns those that were open.
WITH of_ledger AS (
    UPDATE ledger.dead_letters
    SET status = 'discarded', decided_by = $2, decided_reason = $3, decided_at = clock_timestamp()
    WHERE id = ANY ($1::bigint[]) AND status = 'open' RETURNING id, order_id, reason
), of_delivery AS (
    UPDATE delivery.dead_letters
    SET status = 'discarded', decided_by = $2, decided_reason = $3, decided_at = clock_timestamp()
    WHERE id = ANY ($1::bigint[]) AND status = 'open' RETURNING id, order_id, reason
)
SELECT id, order_id, reason FROM of_ledger UNION ALL SELECT id, order_id, reason FROM of_delivery ORDER BY id

-- name: undecided_commands
-- Of these dead letters those that are open and whose commands wait for a person, each with its command; of a declined one
-- with its order, which says whether anything of it is still missing. OFFSET 0: rows are looked up by their keys before their
-- states are asked, else PostgreSQL may read all that are in these states, even for each dead letter.
SELECT d.id, c.command_id, c.state, c.done, c.value, o.document
FROM (SELECT * FROM delivery.dead_letters WHERE id = ANY ($1::bigint[]) OFFSET 0) AS d
CROSS JOIN LATERAL (SELECT * FROM delivery.commands WHERE order_id = d.order_id OFFSET 0) AS c
LEFT JOIN ledger.orders o ON c.state = 'declined' AND o.order_id = c.order_id COLLATE "C"
WHERE d.status = 'open' AND c.state IN ('manual', 'suspect', 'unknown', 'declined')
    AND (c.topic, c.source_partition, c."offset") = (d.topic, d.partition, d."offset")

-- name: count_dead_letters
-- How many are open, by reason, most first.
SELECT reason, count(*) AS open
FROM (
    SELECT reason FROM ledger.dead_letters WHERE status = 'open'
    UNION ALL SELECT reason FROM delivery.dead_letters WHERE status = 'open'
) AS found
GROUP BY reason ORDER BY count(*) DESC, reason
