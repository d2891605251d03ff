-- A topic that was deleted and made anew has the name of the old one, and its offsets again: a position of the old one would
-- pass over what stands before it in the new one. So it is kept in which topic a position lies.

ALTER TABLE ledger.positions ADD COLUMN topic_id uuid;
ALTER TABLE delivery.positions ADD COLUMN topic_id uuid;
COMMENT ON COLUMN ledger.positions.topic_id IS
    'The id that Kafka gave the topic in which the position lies; NULL: that of the topic which has the name when a worker takes the partition next.';
COMMENT ON COLUMN delivery.positions.topic_id IS
    'The id that Kafka gave the topic in which the position lies; NULL: that of the topic which has the name when a worker takes the partition next.';
