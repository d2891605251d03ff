-- The timeline stands like the ledger: what an order was told to the world is never told otherwise afterwards.

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.events
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_rewriting();
ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER append_only;
