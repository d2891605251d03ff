-- What lets a ledger be restored from Kafka: every fact travels with the first event and the first command it caused.

ALTER TABLE ledger.orders ADD COLUMN told bigint NOT NULL DEFAULT 0;
ALTER TABLE ledger.orders ADD CONSTRAINT told_is_a_fact CHECK (told BETWEEN 0 AND facts);
COMMENT ON COLUMN ledger.orders.told IS
    'The last fact of which the world was told: it and those before it stand in the header `settlement-facts` of the order''s events. Those after it caused no event and no command yet, and travel with the next one that does.';
