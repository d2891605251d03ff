-- The orders of one merchant at which a person must look, also of a merchant that has none, without reading those of others.
CREATE INDEX IF NOT EXISTS orders_needing_people_by_merchant ON ledger.orders (merchant, order_id) WHERE attention;
DROP INDEX ledger.orders_needing_people;
