-- name: read_positions
-- How far these partitions were read, in which topic, and the epoch of a leader that has all records before, which
-- counts only where the topic is known.
SELECT topic, partition, next_offset, topic_id, CASE WHEN topic_id IS NOT NULL THEN leader_epoch END AS leader_epoch
FROM positions WHERE topic = ANY($1::text[]) AND partition = ANY($2::integer[]);

-- name: begin_positions
-- Stores first positions and topic ids: so records deleted before they are read, or a topic made anew, are noticed.
INSERT INTO positions (topic, partition, next_offset, topic_id)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::uuid[])
ON CONFLICT (topic, partition) DO UPDATE SET topic_id = excluded.topic_id, leader_epoch = NULL
WHERE positions.topic_id IS DISTINCT FROM excluded.topic_id AND excluded.topic_id IS NOT NULL;

-- name: advance_positions
-- Moves positions: every record before them has its fate.
INSERT INTO positions (topic, partition, next_offset, leader_epoch)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::integer[])
ON CONFLICT (topic, partition) DO UPDATE SET
    next_offset = excluded.next_offset, leader_epoch = excluded.leader_epoch;

-- name: read_published
-- Up to which offsets Kafka has acknowledged our records.
SELECT topic, partition, next_offset FROM published WHERE topic = ANY($1::text[]) AND partition = ANY($2::integer[]);

-- name: advance_published
-- Moves forward up to which offsets Kafka has acknowledged our records.
INSERT INTO published (topic, partition, next_offset)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = greatest(published.next_offset, excluded.next_offset);

-- name: note_published
-- Sets up to which offsets the tables know all records; lower than before where a topic was made anew.
INSERT INTO published (topic, partition, next_offset)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset;
