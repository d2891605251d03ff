-- What leaves for Kafka is packed once: as it is stored here, it is sent. Rows of an older program are still read.
DO $$
DECLARE
    worker text;
BEGIN
    FOREACH worker IN ARRAY ARRAY['ledger', 'delivery'] LOOP
        EXECUTE format('COMMENT ON COLUMN %I.outbox.records IS %L', worker,
            'zstd of a MessagePack array of [topic without prefix, partition, batch of records as Kafka keeps it].');
    END LOOP;
END $$;
