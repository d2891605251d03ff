-- Fills a ledger: copies one order that the worker has settled ($1), $2 times, in all tables that grow.
-- It differs from a ledger that grew by itself in one point: the hashes of the entries are copied too, so `audit` would
-- reject these chains. Its indexes are packed as tightly.
-- Shorter rows would later go into the gaps at the ends of old pages, each of which is read and written whole for that.
-- A ledger that grew by itself has filled its gaps. So the copied names are as long as those of the rounds, and the
-- shortest entries, those without a command, are inserted after a VACUUM, which finds the gaps for them.

-- name: create_copies_view
CREATE TEMPORARY VIEW copies AS
SELECT n, 'old-' || lpad(n::text, 10, '0') AS copy FROM generate_series(1, $2::integer) AS n;

-- name: copy_orders
INSERT INTO ledger.orders (order_id, partition, opened, merchant, phase, version, facts, document, updated_at)
SELECT copy, n % $3::integer, opened, merchant, phase, version, facts,
    convert_to(replace(convert_from(document, 'UTF8'), order_id, copy), 'UTF8'), updated_at
FROM ledger.orders, pg_temp.copies WHERE order_id = $1;

-- name: copy_payments
INSERT INTO ledger.payments (payment_id, order_id, connector, currency, authorized, cap, settled, settling, refunded,
    refunding, voided, voiding, lapsed)
SELECT copy || '-card', copy, connector, currency, authorized, cap, settled, settling, refunded, refunding,
    voided, voiding, lapsed
FROM ledger.payments, pg_temp.copies WHERE order_id = $1;

-- name: copy_settlements
INSERT INTO ledger.settlements (payment_id, settle_id, value, refunded, refunding, automatic)
SELECT copy || '-card', settle_id, value, settlements.refunded, settlements.refunding, automatic
FROM ledger.settlements JOIN ledger.payments USING (payment_id), pg_temp.copies WHERE order_id = $1;

-- name: copy_commands
INSERT INTO ledger.commands (command_id, request_id, order_id, payment_id, sequence, operation, value)
SELECT md5(command_id || n)::uuid, md5(request_id || n)::uuid, copy, copy || '-card', sequence, operation, value
FROM ledger.commands, pg_temp.copies WHERE order_id = $1;

-- name: copy_facts
INSERT INTO ledger.facts (order_id, sequence, fate, fact, terms, topic, partition, "offset", decided_at)
SELECT copy, sequence, fate, fact, terms, 'old', n % $3::integer, n::bigint * 1000 + sequence, decided_at
FROM ledger.facts, pg_temp.copies WHERE order_id = $1;

-- name: copy_events
INSERT INTO ledger.events (order_id, sequence, message)
SELECT copy, sequence, message
FROM ledger.events, pg_temp.copies WHERE order_id = $1;

-- name: create_copied_entries_view
CREATE TEMPORARY VIEW copied_entries AS
SELECT n % $3::integer AS chain,
    1000000 + n::bigint * (SELECT count(*) FROM ledger.entries WHERE order_id = $1) + place AS place,
    copy, fact, copy || '-card' AS payment, debit, credit, amount, currency, rule, command_id, hash
FROM ledger.entries, pg_temp.copies WHERE order_id = $1;

-- name: copy_entries
INSERT INTO ledger.entries (chain, place, order_id, fact, payment_id, debit, credit, amount, currency, rule, command_id, hash)
SELECT * FROM pg_temp.copied_entries WHERE command_id <> '';

-- name: find_gaps
VACUUM ledger.entries;

-- name: copy_short_entries
INSERT INTO ledger.entries (chain, place, order_id, fact, payment_id, debit, credit, amount, currency, rule, command_id, hash)
SELECT * FROM pg_temp.copied_entries WHERE command_id = '';

-- name: advance_chains
INSERT INTO ledger.chains (chain, place, hash)
SELECT DISTINCT ON (chain) chain, place, hash FROM ledger.entries ORDER BY chain, place DESC
ON CONFLICT (chain) DO UPDATE SET place = excluded.place, hash = excluded.hash;
