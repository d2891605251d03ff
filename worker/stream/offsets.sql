-- name: read_positions
-- How far these partitions were read.
SELECT topic, partition, next_offset FROM positions WHERE topic = ANY($1::text[]) AND partition = ANY($2::integer[]);

-- name: read_position_ids
-- In which topics these positions lie.
SELECT topic, partition, topic_id FROM positions
WHERE topic = ANY($1::text[]) AND partition = ANY($2::integer[]) AND topic_id IS NOT NULL;

-- name: begin_positions
-- What was never read begins here: should it be gone before it is read, that is noticed; and so is a topic made anew.
INSERT INTO positions (topic, partition, next_offset, topic_id)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::uuid[])
ON CONFLICT (topic, partition) DO UPDATE SET topic_id = excluded.topic_id, leader_epoch = NULL
WHERE positions.topic_id IS DISTINCT FROM excluded.topic_id AND excluded.topic_id IS NOT NULL;

-- name: read_position_epochs
-- Which leaders are known to have all that stands before these positions, where the topic is known as well.
SELECT topic, partition, leader_epoch FROM positions
WHERE topic = ANY($1::text[]) AND partition = ANY($2::integer[]) AND topic_id IS NOT NULL AND leader_epoch IS NOT NULL;

-- name: advance_positions
-- So far every record has its fate.
INSERT INTO positions (topic, partition, next_offset, leader_epoch)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::integer[])
ON CONFLICT (topic, partition) DO UPDATE SET
    next_offset = excluded.next_offset, leader_epoch = excluded.leader_epoch;

-- name: read_published
-- How far Kafka has acknowledged what we wrote.
SELECT topic, partition, next_offset FROM published WHERE topic = ANY($1::text[]) AND partition = ANY($2::integer[]);

-- name: advance_published
-- So far Kafka has what we wrote.
INSERT INTO published (topic, partition, next_offset)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = greatest(published.next_offset, excluded.next_offset);

-- name: note_published
-- Everything before these offsets is known here; of a topic that was made anew they are lower than before.
INSERT INTO published (topic, partition, next_offset)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset;
