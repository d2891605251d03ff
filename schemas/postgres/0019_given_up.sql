-- Facts of an order that never comes are read only once they give up, the longest waiting first: a producer that names the
-- same wrong order in everything it sends must not make every further fact dearer. The order in which they were stored is
-- asked for only where all of an order's facts are read, and sorted then.

CREATE INDEX parked_by_expiry ON ledger.parked (order_id, expires_at);
DROP INDEX ledger.parked_of_order;
