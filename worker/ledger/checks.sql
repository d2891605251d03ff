-- name: page_of_orders
-- The next orders by id.
SELECT order_id, partition, opened, merchant, phase, attention, needs_authorization, version, facts, parked,
    awaits IS NOT NULL AS awaiting, document
FROM orders WHERE order_id > $1 ORDER BY order_id LIMIT $2

-- name: facts_of_orders
-- Their facts in the order of application.
SELECT order_id, sequence, fate, fact, terms FROM facts WHERE order_id = ANY ($1::text[]) ORDER BY order_id, sequence

-- name: events_of_orders
-- Their timelines.
SELECT order_id, message FROM events WHERE order_id = ANY ($1::text[]) ORDER BY order_id, sequence

-- name: entries_of_orders
-- Their entries, as they were made.
SELECT order_id, fact, payment_id, debit, credit, amount, rule, command_id
FROM entries WHERE order_id = ANY ($1::text[]) ORDER BY order_id, fact, chain, place

-- name: movements_of_orders
-- What their entries moved, by payment, command and pair of accounts.
SELECT order_id, payment_id, command_id, debit, credit, currency, sum(amount)::bigint AS amount, max(fact) AS last_fact
FROM entries WHERE order_id = ANY ($1::text[]) GROUP BY order_id, payment_id, command_id, debit, credit, currency

-- name: payments_of_orders
-- Their payments' balances.
SELECT order_id, payment_id, connector, currency, authorized, cap, settled, settling, refunded, refunding, voided,
    voiding, lapsed
FROM payments WHERE order_id = ANY ($1::text[])

-- name: settlements_of_orders
-- The captures of their payments.
SELECT p.order_id, s.payment_id, s.settle_id, s.value, s.refunded, s.refunding, s.automatic
FROM settlements s JOIN payments p USING (payment_id) WHERE p.order_id = ANY ($1::text[])

-- name: commands_of_orders
-- What was asked for their payments.
SELECT commands.order_id, command_id, request_id, payment_id, sequence, operation, value
FROM commands JOIN payments USING (payment_id) WHERE payments.order_id = ANY ($1::text[])

-- name: counts_of_orders
-- How many rows each of them has in the tables that grow.
SELECT order_id,
    (SELECT count(*) FROM facts WHERE facts.order_id = orders.order_id) AS facts,
    (SELECT coalesce(max(sequence), 0) FROM facts WHERE facts.order_id = orders.order_id) AS last_fact,
    (SELECT count(*) FROM events WHERE events.order_id = orders.order_id) AS events,
    (SELECT coalesce(max(sequence), 0) FROM events WHERE events.order_id = orders.order_id) AS last_event,
    (SELECT count(*) FROM parked WHERE parked.order_id = orders.order_id) AS parked
FROM orders WHERE order_id = ANY ($1::text[])

-- name: all_chains
-- Every chain with its last link; place 0 where no last link is kept.
SELECT chain, coalesce(chains.place, 0) AS place, coalesce(chains.hash, '') AS hash
FROM (SELECT DISTINCT chain FROM entries) AS used FULL JOIN chains USING (chain) ORDER BY chain

-- name: page_of_chain
-- The next entries of one chain.
SELECT place, order_id, fact, payment_id, debit, credit, amount, currency, rule, command_id, hash
FROM entries WHERE chain = $1 AND place > $2 ORDER BY place LIMIT $3

-- name: unbalanced_entries
-- Entries that the table should have refused.
SELECT format('entry %s of chain %s moves %s from %s to %s', place, chain, amount, debit, credit) AS sentence
FROM entries WHERE amount <= 0 OR debit = credit LIMIT 20

-- name: orphans
-- Rows that belong to no order, or to a payment of another order.
SELECT format('entry %s of chain %s is of payment %s, which order %s does not have', place, chain, e.payment_id, e.order_id)
    AS sentence
FROM entries e LEFT JOIN payments p ON p.payment_id = e.payment_id AND p.order_id = e.order_id
WHERE p.payment_id IS NULL
UNION ALL
SELECT format('command %s is of payment %s, which order %s does not have', command_id, c.payment_id, c.order_id)
FROM commands c LEFT JOIN payments p ON p.payment_id = c.payment_id AND p.order_id = c.order_id
WHERE p.payment_id IS NULL
UNION ALL
SELECT format('fact %s is of order %s, which is not there', sequence, f.order_id)
FROM facts f LEFT JOIN orders o ON o.order_id = f.order_id WHERE o.order_id IS NULL
UNION ALL
SELECT format('event %s is of order %s, which is not there', sequence, e.order_id)
FROM events e LEFT JOIN orders o ON o.order_id = e.order_id WHERE o.order_id IS NULL
LIMIT 20

-- name: missing_guards
-- Constraints and triggers that keep the invariants and are not in force.
SELECT invariant, format('the database does not enforce %s on %s', wanted.name, wanted.table_name) AS sentence
FROM (VALUES
    ('I1', 'entries', 'one_positive_amount'), ('I1', 'entries', 'two_accounts'),
    ('I2', 'payments', 'refunds_within_settled'), ('I2', 'settlements', 'refunds_within_settlement'),
    ('I3', 'payments', 'commitments_within_cap'), ('I5', 'commands', 'commands_pkey'),
    ('I5', 'commands', 'commands_order_id_request_id_key'), ('I6', 'commands', 'commands_payment_id_sequence_key'))
    AS wanted (invariant, table_name, name)
WHERE NOT EXISTS (
    SELECT FROM pg_constraint
    WHERE conname = wanted.name AND conrelid = format('ledger.%I', wanted.table_name)::regclass AND convalidated)
UNION ALL
SELECT 'I9', format('the database would let %s be rewritten: its trigger is gone or switched off', wanted.table_name)
FROM (VALUES ('entries'), ('facts'), ('events')) AS wanted (table_name)
WHERE NOT EXISTS (
    SELECT FROM pg_trigger
    WHERE tgname = 'append_only' AND tgrelid = format('ledger.%I', wanted.table_name)::regclass AND tgenabled = 'A')
UNION ALL
SELECT 'I9', format('the database would let %s be rewritten: its trigger is gone or switched off', inhrelid::regclass)
FROM pg_inherits
WHERE inhparent = 'ledger.entries'::regclass AND NOT EXISTS (
    SELECT FROM pg_trigger WHERE tgname = 'append_only' AND tgrelid = inhrelid AND tgenabled = 'A')

-- name: shared_ids
-- Ids that two commands have; within one order the table refuses it.
SELECT format('the command id %s is used by the orders %s and %s', command_id, min(order_id), max(order_id)) AS sentence
FROM commands GROUP BY command_id HAVING count(*) > 1
UNION ALL
SELECT format('the request id %s is used by the orders %s and %s', request_id, min(order_id), max(order_id))
FROM commands GROUP BY request_id HAVING count(*) > 1
LIMIT 20

-- name: strange_deliveries
-- Commands that are not delivered as they were issued, and effects that two commands claim.
SELECT format('command %s is delivered as a %s of %s on payment %s, number %s; the ledger issued no such command',
    d.command_id, d.operation, d.value, d.payment_id, d.sequence) AS sentence
FROM delivery.commands d LEFT JOIN commands c ON c.command_id = d.command_id COLLATE "C"
    AND c.payment_id = d.payment_id COLLATE "C" AND (c.sequence, c.operation, c.value) = (d.sequence, d.operation, d.value)
WHERE c.command_id IS NULL
UNION ALL
SELECT format('commands %s and %s of payment %s were both done as operation %s',
    min(command_id), max(command_id), payment_id, operation_id)
FROM delivery.commands WHERE state = 'succeeded' AND operation_id IS NOT NULL
GROUP BY payment_id, operation_id HAVING count(*) > 1
LIMIT 20

-- name: deliveries_out_of_line
-- Commands that were sent although the one before them in their payment's line was never taken over.
SELECT format('payment %s: command number %s was sent, number %s was never taken over', payment_id, sequence, sequence - 1)
    AS sentence
FROM delivery.commands d
WHERE attempts > 0 AND sequence > 1 AND NOT EXISTS (
    SELECT FROM delivery.commands p WHERE p.payment_id = d.payment_id AND p.sequence = d.sequence - 1)
LIMIT 20

-- name: unaccounted_records
-- Partitions whose consumed records are not all accounted for once, as facts, repeats, parked or dead letters.
WITH traced AS (
    SELECT topic, partition, count(*) AS facts, max("offset") AS last
    FROM facts WHERE topic IS NOT NULL GROUP BY 1, 2
), waiting AS (
    SELECT topic, partition, count(*) AS parked, max("offset") AS last
    FROM parked WHERE waits_for <> 'judgement' GROUP BY 1, 2
), dead AS (
    SELECT topic, partition, count(*) FILTER (WHERE reason <> 'internal') AS dead, count(*) AS all_dead,
        max("offset") AS last
    FROM dead_letters d
    WHERE NOT EXISTS (
        SELECT FROM facts f WHERE f.topic = d.topic AND f.partition = d.partition AND f."offset" = d."offset")
    GROUP BY 1, 2
), everything AS (
    SELECT topic, partition, coalesce(records, 0) AS records, coalesce(duplicates, 0) AS duplicates,
        coalesce(facts, 0) AS facts, coalesce(parked, 0) AS parked, coalesce(dead, 0) AS dead,
        coalesce(all_dead, 0) AS all_dead, coalesce(greatest(positions.next_offset, consumed.next_offset), 0) AS next_offset,
        greatest(traced.last, waiting.last, dead.last) AS last
    FROM consumed FULL JOIN traced USING (topic, partition) FULL JOIN waiting USING (topic, partition)
        FULL JOIN dead USING (topic, partition) FULL JOIN positions USING (topic, partition)
)
SELECT format('%s[%s]: %s records were handled; %s repeats, %s facts, %s parked and %s dead letters are there',
    topic, partition, records, duplicates, facts, parked, dead) AS sentence
FROM everything
WHERE records - duplicates - facts - parked NOT BETWEEN dead AND all_dead
UNION ALL
SELECT format('%s[%s]: the next record is %s, but %s was handled', topic, partition, next_offset, last)
FROM everything WHERE last >= next_offset

-- name: twice_accounted_records
-- Records that wait although they are facts or dead letters already.
SELECT format('%s[%s]@%s waits and is a fact', topic, partition, "offset") AS sentence
FROM parked JOIN facts USING (topic, partition, "offset") WHERE waits_for <> 'judgement'
UNION ALL
SELECT format('%s[%s]@%s waits and is a dead letter', topic, partition, "offset")
FROM parked JOIN dead_letters USING (topic, partition, "offset")
LIMIT 20

-- name: count_orders
-- How many orders there are to look at.
SELECT count(*) FROM orders

-- name: orders_of_connector
-- Every order that has a payment with this connector.
SELECT document FROM orders
WHERE document IS NOT NULL AND EXISTS (
    SELECT FROM payments WHERE payments.order_id = orders.order_id AND payments.connector = $1)
ORDER BY order_id
