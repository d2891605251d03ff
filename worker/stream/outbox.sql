-- name: write_rows
-- Inserts one row per partition; their ids are above those of all rows whose orders' locks we waited for.
INSERT INTO outbox (partition, misplaced, records)
SELECT partition, misplaced, records
FROM unnest($1::integer[], $2::boolean[], $3::bytea[]) AS written (partition, misplaced, records)
RETURNING id, partition;

-- name: find_misplaced
-- Rows that others wrote for our partitions, oldest first, without those already enqueued.
SELECT id, partition, records
FROM outbox
WHERE misplaced AND partition = ANY($1::integer[]) AND NOT id = ANY($2::bigint[])
ORDER BY id
LIMIT $3;

-- name: misplaced_exist
-- Whether others wrote rows for our partitions that are not enqueued yet.
SELECT EXISTS (
    SELECT FROM outbox WHERE misplaced AND partition = ANY($1::integer[]) AND NOT id = ANY($2::bigint[]));

-- name: find_left_over
-- A page of the rows that a former owner had not deleted, oldest first, without those already enqueued.
SELECT id, partition, records
FROM outbox
WHERE partition = ANY($1::integer[]) AND NOT id = ANY($2::bigint[])
ORDER BY id
LIMIT $3;

-- name: delete_rows
-- Deletes rows that Kafka has acknowledged.
DELETE FROM outbox WHERE id = ANY($1::bigint[]);
