-- Tables that grow for ever are tended in steps of one size, however large they are: PostgreSQL's own thresholds are
-- parts of a table, so that of a hundred million rows twenty million would wait, and then be visited at once.
--
-- Retention. Everything of an order is reached by its key, so size alone costs nothing while decisions are made; what may
-- leave is the past. `entries` refuse DELETE to everyone, so they can leave only as a table of their own: the key is
-- (chain, place) and `place` only grows, so the table that stands here becomes the first partition, FOR VALUES FROM
-- (MINVALUE) TO (a place above every chain's head), of a parent PARTITION BY RANGE (place) without being copied. Whoever
-- keeps the database does that by hand when the law lets something go, and detaches what is older; no timer of ours
-- creates or drops a partition. Times of a chain's places stand in `booked_at`, with a BRIN index.

ALTER TABLE ledger.entries SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000);
ALTER TABLE ledger.facts SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000);
ALTER TABLE ledger.events SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000);
ALTER TABLE ledger.commands SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000);
