-- name: workers
-- The members of both workers whose lease is valid, how many partitions each owns, and its active alerts.
SELECT 'ledger' AS role, member_id, host, joined_at, alerts,
    (SELECT count(*) FROM ledger.partitions WHERE owner = member_id) AS partitions
FROM ledger.members WHERE lease_until > clock_timestamp()
UNION ALL
SELECT 'delivery', member_id, host, joined_at, alerts,
    (SELECT count(*) FROM delivery.partitions WHERE owner = member_id)
FROM delivery.members WHERE lease_until > clock_timestamp()
ORDER BY role DESC, joined_at, member_id

-- name: find_orders
-- Orders whose id begins with $1, by id.
SELECT order_id, merchant, phase, attention FROM ledger.orders
WHERE order_id >= $1 AND order_id < $1 || E'\U0010FFFF' ORDER BY order_id LIMIT $2
