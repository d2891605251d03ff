-- name: order_document
-- One order's state.
SELECT document FROM ledger.orders WHERE order_id = $1

-- name: order_documents
-- The states of these orders.
SELECT order_id, document FROM ledger.orders WHERE order_id = ANY ($1::text[])

-- name: order_parked
-- What waits for one order, or for something in it.
SELECT waits_for, topic, partition, "offset", expires_at FROM ledger.parked WHERE order_id = $1 ORDER BY id

-- name: order_events
-- One order's timeline.
SELECT message FROM ledger.events WHERE order_id = $1 ORDER BY sequence

-- name: order_requests
-- What was asked for one order, and what the delivery worker knows of it. Its ids are sorted otherwise than the ledger's.
SELECT c.command_id, c.request_id, c.payment_id, c.sequence, c.operation, c.value, d.state, d.attempts, d.done,
    d.operation_id, d.code, d.message
FROM ledger.commands c LEFT JOIN delivery.commands d ON d.command_id = c.command_id COLLATE "default"
WHERE c.order_id = $1 ORDER BY c.payment_id, c.sequence

-- name: order_attempts
-- Each time a command of one order was sent, and what the connector answered.
SELECT a.command_id, a.attempt, a.begun_at, a.ended_at, a.status, a.fate, a.message AS code, a.reply
FROM delivery.attempts a JOIN ledger.commands c ON a.command_id = c.command_id COLLATE "default"
WHERE c.order_id = $1 ORDER BY a.begun_at, a.attempt

-- name: order_items
-- One order's facts that came with items.
SELECT fact AS body, items FROM ledger.facts WHERE order_id = $1 AND items IS NOT NULL ORDER BY sequence

-- name: order_entries
-- One order's entries with the facts that made them.
SELECT e.fact, e.payment_id, e.debit, e.credit, e.amount, e.rule, e.command_id, f.topic, f.partition, f."offset",
    f.decided_at, f.fact AS body
FROM ledger.entries e JOIN ledger.facts f ON f.order_id = e.order_id AND f.sequence = e.fact
WHERE e.order_id = $1 ORDER BY e.fact, e.chain, e.place

-- name: order_dead_letters
-- What of one order went no further.
SELECT id, topic, reason, message, status, dead_at FROM ledger.dead_letters WHERE order_id = $1
UNION ALL SELECT id, topic, reason, message, status, dead_at FROM delivery.dead_letters WHERE order_id = $1
ORDER BY dead_at, id
