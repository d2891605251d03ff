-- name: orders_needing_people
-- Orders at which a person must look, as the books know them, at most $3: first those of the commands of these states
-- ($4) that ended last. An order of its own ($1) is found by its key.
WITH latest AS MATERIALIZED (
    SELECT DISTINCT order_id COLLATE "C" AS order_id FROM (
        SELECT found.* FROM unnest($4::text[]) AS wanted (state), LATERAL (
            SELECT order_id, coalesce(ended_at, first_attempt_at) AS at FROM delivery.commands
            WHERE commands.state = wanted.state AND commands.state IN ('manual', 'suspect', 'unknown', 'declined')
            ORDER BY coalesce(ended_at, first_attempt_at) DESC NULLS LAST LIMIT $3
        ) AS found WHERE $1::text IS NULL ORDER BY at DESC NULLS LAST LIMIT $3
    ) AS ended
)
SELECT document FROM ledger.orders WHERE attention AND order_id = $1 AND ($2::text IS NULL OR merchant = $2)
UNION ALL
SELECT document FROM latest JOIN ledger.orders USING (order_id)
WHERE attention AND ($2::text IS NULL OR merchant = $2)
UNION ALL
(SELECT document FROM ledger.orders
WHERE $1 IS NULL AND attention AND ($2::text IS NULL OR merchant = $2) AND order_id NOT IN (SELECT order_id FROM latest)
ORDER BY merchant, order_id LIMIT $3)
LIMIT $3

-- name: orders_needing_authorization
-- Orders that wait for another authorization (R16), at most $3. An order of its own ($1) is found by its key.
SELECT document FROM ledger.orders
WHERE needs_authorization AND order_id = $1::text AND ($2::text IS NULL OR merchant = $2)
UNION ALL
(SELECT document FROM ledger.orders
WHERE $1 IS NULL AND needs_authorization AND ($2::text IS NULL OR merchant = $2)
ORDER BY merchant, order_id LIMIT $3)

-- name: commands_needing_people
-- Commands that the books name ($1), and others in these states ($3): those of one order ($2), or the latest. For a merchant
-- ($4), each command's order is looked up by its key: with EXISTS, PostgreSQL may read the whole ledger's orders instead.
WITH found AS (
    SELECT * FROM delivery.commands WHERE command_id = ANY ($1::text[])
    UNION ALL
    SELECT * FROM delivery.commands
    WHERE order_id = $2::text AND state = ANY ($3::text[]) AND command_id NOT IN (SELECT unnest($1::text[]))
    UNION ALL
    (SELECT others.* FROM unnest($3::text[]) AS wanted (state), LATERAL (
        SELECT * FROM delivery.commands
        WHERE commands.state = wanted.state AND commands.state IN ('manual', 'suspect', 'unknown', 'declined')
            AND command_id NOT IN (SELECT unnest($1::text[]))
            AND ($4::text IS NULL OR $4 = (
                SELECT merchant FROM ledger.orders o WHERE o.order_id = commands.order_id COLLATE "C"))
        ORDER BY coalesce(ended_at, first_attempt_at) DESC NULLS LAST LIMIT $5
    ) AS others
    WHERE $2::text IS NULL ORDER BY coalesce(ended_at, first_attempt_at) DESC NULLS LAST LIMIT $5)
)
SELECT command_id, order_id, payment_id, connector, operation, value, state, done, attempts, code, message,
    first_attempt_at, ended_at, convert_from(body, 'UTF8')::json ->> 'merchant' AS merchant,
    convert_from(body, 'UTF8')::json ->> 'currency' AS currency,
    (SELECT action FROM delivery.decisions d WHERE d.command_id = found.command_id AND d.applied_at IS NULL
        ORDER BY id DESC LIMIT 1) AS noted
FROM found

-- name: awaited_connectors
-- Connectors that orders wait for and the connectors file did not name: how many orders, and the one that waits longest.
SELECT name AS connector, count(*) AS orders, (array_agg(order_id ORDER BY updated_at, order_id))[1] AS first_order
FROM ledger.orders, unnest(awaits) AS name
WHERE awaits IS NOT NULL AND ($1::text IS NULL OR order_id = $1) AND ($2::text IS NULL OR merchant = $2)
GROUP BY name ORDER BY count(*) DESC, name

-- name: pick_commands
-- Every command in one of these states ($1) that matches now, in the order in which they ended. `noted`: a decision about it
-- is not applied yet.
SELECT command_id, order_id, state, connector, code, changes,
    CASE state WHEN 'declined' THEN 'failed' ELSE state END AS need,
    EXISTS (SELECT FROM delivery.decisions d WHERE d.command_id = c.command_id AND d.applied_at IS NULL) AS noted
FROM delivery.commands c
WHERE state = ANY ($1::text[]) AND state IN ('manual', 'suspect', 'unknown', 'declined')
    AND ($2::text IS NULL OR connector = $2) AND ($3::text IS NULL OR code = $3)
    AND ($4::text IS NULL OR EXISTS (
        SELECT FROM ledger.orders o WHERE o.order_id = c.order_id COLLATE "C" AND o.merchant = $4))
    AND ($5::text IS NULL OR order_id = $5)
    AND ($6::timestamptz IS NULL OR coalesce(ended_at, first_attempt_at) >= $6)
    AND ($7::timestamptz IS NULL OR coalesce(ended_at, first_attempt_at) <= $7)
ORDER BY coalesce(ended_at, first_attempt_at), command_id

-- name: show_command
-- One command with everything known of it.
SELECT command_id, order_id, payment_id, sequence, connector, operation, value, state, changes, attempts, uncertain,
    done, operation_id, code, message, taken_at, first_attempt_at, due_at, ended_at, partition, body
FROM delivery.commands WHERE command_id = $1

-- name: show_attempts
-- Its attempts in order.
SELECT attempt, begun_at, ended_at, fate, status, message, reply
FROM delivery.attempts WHERE command_id = $1 ORDER BY attempt

-- name: show_decisions
-- What people decided about it.
SELECT action, value, operation_id, decided_by, reason, decided_at, applied_at, refused
FROM delivery.decisions WHERE command_id = $1 ORDER BY id

-- name: asked_again
-- The commands of an order ($1) that ask again for what one of them ($2) did not do, oldest first.
SELECT command_id FROM delivery.commands
WHERE order_id = $1 AND convert_from(body, 'UTF8')::json ->> 'retryOf' = $2 ORDER BY sequence

-- name: ended_in_ledger
-- Of these commands those of which the books have heard how they ended, as the delivery worker has it: the success, or each
-- resolution by a person.
SELECT c.command_id FROM delivery.commands c
WHERE c.command_id = ANY ($1::text[]) AND (
    SELECT count(*) FROM ledger.facts f, LATERAL (SELECT convert_from(f.fact, 'UTF8')::jsonb AS said) AS _
    WHERE f.order_id = c.order_id COLLATE "C" AND said ->> 'command_id' = c.command_id AND said ->> 'outcome' = c.state
) >= CASE c.state
    WHEN 'resolved' THEN (SELECT count(*) FROM delivery.decisions d WHERE d.command_id = c.command_id
        AND d.action = 'resolve' AND d.applied_at IS NOT NULL AND d.refused IS NULL)
    ELSE 1 END

-- name: home_of_order
-- The partition whose owner applies what is decided about this order; no row where nothing ever named it.
SELECT partition FROM ledger.orders WHERE order_id = $1

-- name: decide
-- A decision, for the delivery worker to apply; the same one again changes nothing, and returns nothing.
INSERT INTO delivery.decisions (action, order_id, command_id, invoice_number, settle_id, changes, value, operation_id,
    decided_by, reason, partition)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (order_id, command_id, invoice_number, settle_id, action, changes, value, operation_id, decided_by, reason)
    DO NOTHING
RETURNING id

-- name: same_decision
-- What came of it, where the same person decided the same before, for the same reason; if said so, about the same state.
SELECT applied_at, refused FROM delivery.decisions
WHERE action = $1 AND order_id = $2 AND command_id IS NOT DISTINCT FROM $3 AND invoice_number IS NOT DISTINCT FROM $4
    AND settle_id IS NOT DISTINCT FROM $5 AND ($6::integer IS NULL OR changes = $6) AND value IS NOT DISTINCT FROM $7
    AND operation_id IS NOT DISTINCT FROM $8 AND decided_by = $9 AND reason = $10
ORDER BY id DESC LIMIT 1
