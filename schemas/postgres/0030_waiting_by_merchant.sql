-- The orders of one merchant that wait for another authorization, without reading those of others.
CREATE INDEX IF NOT EXISTS orders_needing_authorization_by_merchant ON ledger.orders (merchant, order_id)
    WHERE needs_authorization;
DROP INDEX ledger.orders_needing_authorization;
