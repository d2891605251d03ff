-- The entries stand in several tables of one size, cut by their place in the chain: new entries go to one small table with
-- small indexes, and one that is full never changes again. It is frozen once, backed up once, and may move to slow disks
-- (ALTER TABLE ledger_entries.entries_1 SET TABLESPACE …); it stays part of the ledger, so `audit` goes on reading it.
--
-- Table number n reaches to place n × entries_per_table() of every chain. `settlement migrate` makes the next ones in
-- time; what comes later than that waits in the last table, which takes everything, so that no worker ever stops for it.
-- Nobody but the owner reaches the tables by their own names: all rights are those of `ledger.entries`.

CREATE SCHEMA ledger_entries;
COMMENT ON SCHEMA ledger_entries IS 'The tables that `ledger.entries` consists of; nobody but the owner enters.';

CREATE FUNCTION ledger.entries_per_table() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 10000000::bigint';
COMMENT ON FUNCTION ledger.entries_per_table IS 'Places of each chain: with twelve partitions 120 million entries.';

DO $$
DECLARE
    number CONSTANT bigint := (SELECT coalesce(max(place), 0) / ledger.entries_per_table() + 1 FROM ledger.chains);
    first CONSTANT text := 'entries_' || number;
BEGIN
    ALTER TABLE ledger.entries SET SCHEMA ledger_entries;
    EXECUTE format('ALTER TABLE ledger_entries.entries RENAME TO %I', first);
    EXECUTE format('ALTER INDEX ledger_entries.entries_pkey RENAME TO %I', first || '_pkey');
    EXECUTE format('ALTER INDEX ledger_entries.entries_of_order RENAME TO %I', first || '_order_id_idx');
    EXECUTE format('ALTER INDEX ledger_entries.entries_by_time RENAME TO %I', first || '_booked_at_idx');
    EXECUTE format('CREATE TABLE ledger.entries (LIKE ledger_entries.%I '
        'INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS, PRIMARY KEY (chain, place)) PARTITION BY RANGE (place)',
        first);
    EXECUTE format('COMMENT ON TABLE ledger.entries IS %L', obj_description(format('ledger_entries.%I', first)::regclass));
    CREATE INDEX entries_of_order ON ledger.entries (order_id);
    CREATE INDEX entries_by_time ON ledger.entries USING brin (booked_at);
    -- Every entry is looked at once, for the bound.
    EXECUTE format('ALTER TABLE ledger.entries ATTACH PARTITION ledger_entries.%I FOR VALUES FROM (MINVALUE) TO (%s)',
        first, number * ledger.entries_per_table() + 1);
    EXECUTE format('COMMENT ON TABLE ledger_entries.%I IS %L', first, 'Up to place ' || number * ledger.entries_per_table());
    IF to_regrole('settlement_ledger') IS NOT NULL THEN
        REVOKE UPDATE, DELETE ON ledger.entries FROM settlement_ledger;
    END IF;
END $$;

CREATE FUNCTION ledger.guard_entries(guarded regclass) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
        'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_rewriting()', guarded);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only', guarded);
END $$;
COMMENT ON FUNCTION ledger.guard_entries IS 'Append-only, also for an owner who names one of the tables (I9).';
SELECT ledger.guard_entries('ledger.entries');

CREATE TABLE ledger_entries.entries_rest PARTITION OF ledger.entries DEFAULT;
COMMENT ON TABLE ledger_entries.entries_rest IS 'What no table was made for in time; empty where `settlement migrate` is run.';
SELECT ledger.guard_entries('ledger_entries.entries_rest');

CREATE FUNCTION ledger.add_entries_tables(ahead integer DEFAULT 3) RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    size CONSTANT bigint := ledger.entries_per_table();
    wanted CONSTANT bigint := (SELECT coalesce(max(place), 0) / size + 1 + ahead FROM ledger.chains);
    made integer := 0;
    name text;
BEGIN
    IF EXISTS (SELECT FROM ledger_entries.entries_rest) THEN
        RAISE NOTICE 'ledger_entries.entries_rest holds entries: no table can be made beside it';
        RETURN 0;
    END IF;
    FOR number IN (SELECT max(substring(relname FROM '^entries_(\d+)$')::bigint) FROM pg_inherits
            JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = 'ledger.entries'::regclass) + 1 .. wanted LOOP
        name := 'entries_' || number;
        EXECUTE format('CREATE TABLE ledger_entries.%I (LIKE ledger.entries INCLUDING DEFAULTS INCLUDING CONSTRAINTS) WITH ('
            'autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000, '
            'autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000)', name);
        EXECUTE format('ALTER TABLE ledger.entries ATTACH PARTITION ledger_entries.%I FOR VALUES FROM (%s) TO (%s)',
            name, (number - 1) * size + 1, number * size + 1);
        EXECUTE format('COMMENT ON TABLE ledger_entries.%I IS %L', name, 'Up to place ' || number * size);
        PERFORM ledger.guard_entries(format('ledger_entries.%I', name)::regclass);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION ledger.add_entries_tables IS 'Tables for the entries to come; `settlement migrate` asks for them, as the owner.';
REVOKE EXECUTE ON FUNCTION ledger.add_entries_tables, ledger.guard_entries FROM PUBLIC;

SELECT ledger.add_entries_tables();
