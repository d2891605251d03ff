-- Who may do what: group roles without login, for the logins of the workers and of people.
--
-- Roles belong to the whole server. They are made where the migrating user may make them; where it may not, somebody
-- who may creates the four and calls `settlement_grant()` again as the owner of the schema. Nothing depends on the roles: a
-- deployment with one login goes on as before.

DO $$
DECLARE
    wanted text;
BEGIN
    -- Always in this order: migrations of several databases of one server wait for each other here, in no circle.
    FOREACH wanted IN ARRAY ARRAY['settlement_delivery', 'settlement_ledger', 'settlement_operator', 'settlement_ops'] LOOP
        IF to_regrole(wanted) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN
                    NULL; -- another database's migration was faster
                WHEN insufficient_privilege THEN
                    RAISE NOTICE 'the role % is missing and this user may not create it', wanted;
            END;
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION public.settlement_grant() RETURNS text[] LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    grants CONSTANT text[][] := ARRAY[
        -- Each worker has its own schema and no other.
        ['settlement_ledger', 'USAGE ON SCHEMA ledger'],
        ['settlement_ledger', 'SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ledger'],
        ['settlement_ledger', 'USAGE ON SCHEMA people'],
        ['settlement_ledger', 'SELECT ON people.acts'], -- whose replay a record is
        ['settlement_delivery', 'USAGE ON SCHEMA delivery'],
        ['settlement_delivery', 'SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA delivery'],
        -- Who looks, and who also decides.
        ['settlement_ops', 'USAGE ON SCHEMA ledger, delivery, people'],
        ['settlement_ops', 'SELECT ON ALL TABLES IN SCHEMA ledger, delivery, people'],
        ['settlement_operator', 'USAGE ON SCHEMA ledger, delivery, people'],
        ['settlement_operator', 'SELECT ON ALL TABLES IN SCHEMA ledger, delivery, people'],
        ['settlement_operator', 'INSERT ON people.acts, delivery.decisions'],
        ['settlement_operator', 'UPDATE (status, decided_by, decided_reason, decided_at) ON ledger.dead_letters'],
        ['settlement_operator', 'UPDATE (status, decided_by, decided_reason, decided_at) ON delivery.dead_letters'],
        ['settlement_ledger', 'SELECT ON public.settlement_migrations'],
        ['settlement_delivery', 'SELECT ON public.settlement_migrations'],
        ['settlement_ops', 'SELECT ON public.settlement_migrations'],
        ['settlement_operator', 'SELECT ON public.settlement_migrations']];
    -- Tables of later migrations: the same rights, given when they are created.
    later CONSTANT text[][] := ARRAY[
        ['settlement_ledger', 'ledger', 'SELECT, INSERT, UPDATE, DELETE'],
        ['settlement_delivery', 'delivery', 'SELECT, INSERT, UPDATE, DELETE'],
        ['settlement_ops', 'ledger, delivery, people', 'SELECT'],
        ['settlement_operator', 'ledger, delivery, people', 'SELECT']];
    one text[];
    missing text[] := '{}';
BEGIN
    FOREACH one SLICE 1 IN ARRAY grants LOOP
        IF to_regrole(one[1]) IS NOT NULL THEN
            EXECUTE format('GRANT %s TO %I', one[2], one[1]);
        ELSIF one[1] <> ALL (missing) THEN
            missing := missing || one[1];
        END IF;
    END LOOP;
    FOREACH one SLICE 1 IN ARRAY later LOOP
        IF to_regrole(one[1]) IS NOT NULL THEN
            EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %s GRANT %s ON TABLES TO %I', one[2], one[3], one[1]);
        END IF;
    END LOOP;
    -- What only grows is not even asked for: the trigger refuses everybody, these two are never let near it.
    IF to_regrole('settlement_ledger') IS NOT NULL THEN
        REVOKE UPDATE, DELETE ON ledger.entries, ledger.facts, ledger.events, ledger.commands FROM settlement_ledger;
    END IF;
    IF to_regrole('settlement_delivery') IS NOT NULL THEN
        REVOKE DELETE ON delivery.commands, delivery.attempts, delivery.decisions FROM settlement_delivery;
    END IF;
    RETURN missing;
END $$;
REVOKE EXECUTE ON FUNCTION public.settlement_grant() FROM PUBLIC;
COMMENT ON FUNCTION public.settlement_grant() IS
    'Gives the four roles their rights, and names those that do not exist. Called again by the owner after roles were created.';

SELECT public.settlement_grant();
