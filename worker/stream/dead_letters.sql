-- name: write_dead_letter
-- Writes a record's only row, open and with its newest reason, however often it becomes a dead letter. In a topic that
-- was made anew the place is another record's, which replaces the row; the former record is still on the `-dlt` topic.
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
-- Counts the open dead letters of these partitions, by topic and reason.
SELECT topic, reason, count(*) AS number FROM dead_letters
WHERE status = 'open' AND partition = ANY($1::integer[])
GROUP BY topic, reason;
