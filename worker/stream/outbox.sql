-- name: write_rows
-- One row for each partition; their ids follow those of all rows whose orders' locks we waited for.
INSERT INTO outbox (partition, misplaced, records)
SELECT partition, misplaced, records
FROM unnest($1::integer[], $2::boolean[], $3::bytea[]) AS written (partition, misplaced, records)
RETURNING id, partition;

-- name: find_misplaced
-- Rows that others wrote for our partitions, oldest first, without those we know.
SELECT id, partition, records
FROM outbox
WHERE misplaced AND partition = ANY($1::integer[]) AND NOT id = ANY($2::bigint[])
ORDER BY id
LIMIT $3;

-- name: misplaced_exist
-- Whether others wrote rows for our partitions that we do not know.
SELECT EXISTS (
    SELECT FROM outbox WHERE misplaced AND partition = ANY($1::integer[]) AND NOT id = ANY($2::bigint[]));

-- name: find_left_over
-- What a former owner had not seen acknowledged, oldest first, a page at a time, without those we know.
SELECT id, partition, records
FROM outbox
WHERE partition = ANY($1::integer[]) AND NOT id = ANY($2::bigint[])
ORDER BY id
LIMIT $3;

-- name: delete_rows
-- Kafka has acknowledged these.
DELETE FROM outbox WHERE id = ANY($1::bigint[]);

-- name: advance_published
-- So far Kafka has what we wrote.
INSERT INTO published (topic, partition, next_offset)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = greatest(published.next_offset, excluded.next_offset);

-- name: advance_positions
-- So far every record has its fate.
INSERT INTO positions (topic, partition, next_offset)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset;

-- name: begin_positions
-- What was never read begins here: should it be gone before it is read, that is noticed; and so is a topic made anew.
INSERT INTO positions (topic, partition, next_offset, topic_id)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::uuid[])
ON CONFLICT (topic, partition) DO UPDATE SET topic_id = excluded.topic_id
WHERE positions.topic_id IS DISTINCT FROM excluded.topic_id AND excluded.topic_id IS NOT NULL;

-- name: read_published
-- How far Kafka has acknowledged what we wrote.
SELECT topic, partition, next_offset FROM published WHERE topic = ANY($1::text[]) AND partition = ANY($2::integer[]);

-- name: note_published
-- Everything before these offsets is known here; of a topic that was made anew they are lower than before.
INSERT INTO published (topic, partition, next_offset)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset;

-- name: read_positions
-- How far these partitions were read.
SELECT topic, partition, next_offset FROM positions WHERE topic = ANY($1::text[]) AND partition = ANY($2::integer[]);

-- name: read_position_ids
-- In which topics these positions lie.
SELECT topic, partition, topic_id FROM positions
WHERE topic = ANY($1::text[]) AND partition = ANY($2::integer[]) AND topic_id IS NOT NULL;

-- name: write_dead_letter
-- A record has one row, however often it dies; the last reason stands and is open. Of a topic that was made anew it is
-- another record: that one is kept, and what stood there before stands on the topic of dead letters.
INSERT INTO dead_letters (
    topic, partition, "offset", order_id, merchant, reason, message, key, value, headers, "timestamp", dead_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (topic, partition, "offset") DO UPDATE SET
    order_id = excluded.order_id, merchant = excluded.merchant, key = excluded.key, value = excluded.value,
    headers = excluded.headers, "timestamp" = excluded."timestamp",
    (returned_partition, returned_offset, returned_at) = (
        SELECT dead_letters.returned_partition, dead_letters.returned_offset, dead_letters.returned_at
        WHERE (dead_letters.key, dead_letters.value, dead_letters.headers, dead_letters."timestamp")
            IS NOT DISTINCT FROM (excluded.key, excluded.value, excluded.headers, excluded."timestamp")),
    reason = excluded.reason, message = excluded.message, dead_at = excluded.dead_at, status = 'open',
    decided_by = NULL, decided_reason = NULL, decided_at = NULL;

-- name: count_open_dead_letters
-- How many records of these partitions wait for a person, by topic and reason.
SELECT topic, reason, count(*) AS number FROM dead_letters
WHERE status = 'open' AND partition = ANY($1::integer[])
GROUP BY topic, reason;
