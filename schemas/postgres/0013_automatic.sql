-- What the gateway captured by itself is known to the ledger alone; its ids are nobody else's (R32), which the delivery
-- worker has to know before it books an answer. It asks this function, and still sees no table of the ledger's.

CREATE FUNCTION delivery.automatic_settlements(payments text[], ids text[])
    RETURNS TABLE (payment_id text, settle_id text, untouched bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT one.payment_id, one.settle_id, CASE WHEN one.refunded + one.refunding = 0 THEN one.value ELSE 0 END
    FROM ledger.settlements AS one
    WHERE one.automatic AND one.payment_id = ANY (payments) AND one.settle_id = ANY (ids)
$$;
COMMENT ON FUNCTION delivery.automatic_settlements IS
    'Automatic settlements (R27) of these payments with these ids, and the value of those that nothing was refunded of.';
