-- name: take_partitions
-- Locks all partitions until this transaction ends, and fences out their owners.
UPDATE partitions SET owner = NULL, epoch = epoch + 1
WHERE partition IN (SELECT partition FROM partitions ORDER BY partition FOR UPDATE NOWAIT)
RETURNING partition

-- name: differing_facts
-- Facts that this database has with another content.
SELECT told.order_id, told.sequence
FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bytea[]) AS told (order_id, sequence, fact, terms)
JOIN ledger.facts ON facts.order_id = told.order_id AND facts.sequence = told.sequence
WHERE facts.fact <> told.fact OR facts.terms <> told.terms LIMIT 1

-- name: differing_commands
-- Commands that this database has with another content.
SELECT told.command_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::bigint[])
    AS told (order_id, command_id, request_id, payment_id, sequence, operation, value)
JOIN ledger.commands ON commands.order_id = told.order_id AND commands.command_id = told.command_id
WHERE (commands.request_id, commands.payment_id, commands.sequence, commands.operation, commands.value)
    <> (told.request_id, told.payment_id, told.sequence, told.operation, told.value) LIMIT 1

-- name: later_events
-- The events of an order after the last one on its topic.
SELECT message FROM ledger.events WHERE order_id = $1 AND sequence > $2 ORDER BY sequence

-- name: try_what_waits
-- Parked facts that may be tried now: the worker looks at their orders as soon as it starts.
WITH waiting AS (
    UPDATE ledger.parked SET waits_for = 'order' FROM ledger.orders
    WHERE parked.order_id = orders.order_id AND orders.opened AND orders.awaits IS NULL
        AND parked.order_id = ANY ($1::text[]) AND parked.waits_for <> 'judgement'
    RETURNING parked.order_id
)
UPDATE ledger.orders SET wake_at = clock_timestamp() FROM waiting WHERE orders.order_id = waiting.order_id

-- name: take_back_ledger_dead_letters
-- Adds dead letters as their topics have them; rows that exist stay as they are.
INSERT INTO ledger.dead_letters (
    topic, partition, "offset", order_id, merchant, reason, message, key, value, headers, "timestamp", dead_at)
SELECT told.topic, told.partition, told.place, told.order_id, orders.merchant, told.reason, told.message, told.key,
    told.value, told.headers, told.at, told.dead_at
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::bytea[],
    $9::bytea[], $10::timestamptz[], $11::timestamptz[])
    AS told (topic, partition, place, order_id, reason, message, key, value, headers, at, dead_at)
LEFT JOIN ledger.orders USING (order_id)
ON CONFLICT (topic, partition, "offset") DO NOTHING
RETURNING topic, partition, "offset"

-- name: take_back_delivery_dead_letters
-- The same for commands, which may fail again after a person has decided: the latest dead letter counts.
INSERT INTO delivery.dead_letters (
    topic, partition, "offset", order_id, merchant, reason, message, key, value, headers, "timestamp", dead_at)
SELECT told.topic, told.partition, told.place, told.order_id, orders.merchant, told.reason, told.message, told.key,
    told.value, told.headers, told.at, told.dead_at
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::bytea[],
    $9::bytea[], $10::timestamptz[], $11::timestamptz[])
    AS told (topic, partition, place, order_id, reason, message, key, value, headers, at, dead_at)
LEFT JOIN ledger.orders USING (order_id)
ON CONFLICT (topic, partition, "offset") DO UPDATE SET
    reason = excluded.reason, message = excluded.message, dead_at = excluded.dead_at, status = 'open',
    decided_by = NULL, decided_reason = NULL, decided_at = NULL
    WHERE excluded.dead_at > coalesce(dead_letters.decided_at, dead_letters.dead_at)
RETURNING topic, partition, "offset"

-- name: number_dead_letters_on
-- New dead letters get numbers above those in replays; the ledger's numbers are odd.
SELECT setval(pg_get_serial_sequence('ledger.dead_letters', 'id'),
    greatest($1::bigint | 1, (SELECT max(id) FROM ledger.dead_letters)))

-- name: drop_dead_parked
-- Removes parked facts of the backup that have become dead letters since, and corrects their orders' counts.
WITH gone AS (
    DELETE FROM ledger.parked USING unnest($1::text[], $2::integer[], $3::bigint[]) AS dead (topic, partition, place)
    WHERE parked.topic = dead.topic AND parked.partition = dead.partition AND parked."offset" = dead.place
    RETURNING parked.order_id, parked.topic, parked.partition, parked.waits_for
), counted AS (
    UPDATE ledger.orders SET parked = orders.parked - less.number
    FROM (SELECT order_id, count(*)::integer AS number FROM gone GROUP BY 1) AS less
    WHERE orders.order_id = less.order_id
)
SELECT topic, partition, count(*) AS number FROM gone WHERE waits_for <> 'judgement' GROUP BY 1, 2

-- name: facts_among
-- Which of these records are facts.
SELECT topic, partition, place FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS dead (topic, partition, place)
WHERE EXISTS (SELECT FROM ledger.facts f WHERE (f.topic, f.partition, f."offset") = (dead.topic, dead.partition, dead.place))

-- name: account_taken_back
-- Counts records as consumed whose fate came back from the topics.
INSERT INTO ledger.consumed (topic, partition, records, duplicates, next_offset)
SELECT topic, partition, records, 0, next_offset
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) AS more (topic, partition, records, next_offset)
ON CONFLICT (topic, partition) DO UPDATE SET
    records = consumed.records + excluded.records, next_offset = greatest(consumed.next_offset, excluded.next_offset)

-- name: untraced
-- How many offsets in these ranges are neither a fact nor a dead letter nor parked.
SELECT topic, partition, stored, first, number
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) AS gone (topic, partition, stored, first), LATERAL (
    SELECT first - stored - count(*) AS number FROM (
        SELECT f."offset" FROM ledger.facts f
        WHERE f.topic = gone.topic AND f.partition = gone.partition AND f."offset" >= stored AND f."offset" < first
        UNION
        SELECT d."offset" FROM ledger.dead_letters d
        WHERE d.topic = gone.topic AND d.partition = gone.partition AND d."offset" >= stored AND d."offset" < first
        UNION
        SELECT p."offset" FROM ledger.parked p
        WHERE p.topic = gone.topic AND p.partition = gone.partition AND p."offset" >= stored AND p."offset" < first
    ) AS traced
) AS untraced
WHERE number > 0 ORDER BY topic, partition

-- name: not_taken_over
-- Orders with commands that the delivery worker does not have.
SELECT DISTINCT order_id FROM ledger.commands
WHERE NOT EXISTS (SELECT FROM delivery.commands d WHERE d.command_id = commands.command_id)

-- name: facts_of_one_order
-- The facts of an order, in the order of application.
SELECT fact, terms FROM ledger.facts WHERE order_id = $1 ORDER BY sequence

-- name: taken_over_of_order
-- The commands of an order that the delivery worker has.
SELECT command_id FROM delivery.commands WHERE order_id = $1

-- name: lowest_offset
-- The lowest offset of a command; those whose record was gone have negative ones.
SELECT least(min("offset"), 0) FROM delivery.commands

-- name: offset_in_dead_letter
-- The offset of a command's record, from its dead letter.
SELECT "offset" FROM delivery.dead_letters WHERE topic = $1 AND partition = $2 AND order_id = $3 AND value = $4 LIMIT 1

-- name: set_outcomes
-- Books outcomes of commands from their topic, unless a later one is booked already.
UPDATE delivery.commands SET state = told.state, changes = told.changes, done = told.done,
    operation_id = told.operation_id, code = told.code, message = told.message, begun = NULL,
    attempts = greatest(commands.attempts, told.attempts), ended_at = told.at
FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::integer[],
    $9::timestamptz[]) AS told (command_id, state, changes, done, operation_id, code, message, attempts, at)
WHERE commands.command_id = told.command_id AND commands.changes < told.changes
RETURNING commands.command_id

-- name: waiting_by_order
-- Orders with commands that have no outcome.
SELECT orders.document, waiting.ids FROM ledger.orders JOIN (
    SELECT order_id, array_agg(command_id) AS ids FROM delivery.commands WHERE state = 'waiting' GROUP BY order_id) AS waiting
    USING (order_id)
WHERE orders.opened

-- name: applied_decision
-- Whether this decision was applied here.
SELECT applied_at IS NOT NULL FROM delivery.decisions WHERE id = $1

-- name: take_back_decision
-- Adds a decision as its record has it.
INSERT INTO delivery.decisions (id, action, partition, order_id, command_id, invoice_number, settle_id, changes, value,
    operation_id, decided_by, reason, decided_at, applied_at)
OVERRIDING SYSTEM VALUE
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13)
ON CONFLICT (id) DO UPDATE SET applied_at = excluded.applied_at

-- name: died_since
-- Whether this command has a dead letter after that time.
SELECT EXISTS (SELECT FROM delivery.dead_letters WHERE (topic, partition, "offset") = ($1, $2, $3) AND dead_at > $4)

-- name: number_decisions_on
-- New decisions get numbers that no decision has had.
SELECT setval(pg_get_serial_sequence('delivery.decisions', 'id'),
    greatest($1::bigint, (SELECT coalesce(max(id), 1) FROM delivery.decisions)))

-- name: give_turns
-- On each payment it is the turn of the first command that has not ended (I6).
UPDATE delivery.commands SET turn = NOT turn
WHERE turn <> (sequence = 1 OR EXISTS (
    SELECT FROM delivery.commands AS before
    WHERE before.payment_id = commands.payment_id AND before.sequence = commands.sequence - 1
        AND before.state NOT IN ('waiting', 'suspect', 'unknown')))

-- name: make_uncertain
-- Commands that may have been sent count as unknown: sent again now for another horizon; a decline proves nothing (R33, R35).
UPDATE delivery.commands SET uncertain = true, first_attempt_at = $1, due_at = $1 WHERE state = 'waiting'
RETURNING command_id
