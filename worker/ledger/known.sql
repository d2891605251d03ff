-- name: unknown_commands
-- Which of these commands were not issued here.
SELECT place FROM unnest($1::integer[], $2::text[], $3::text[]) AS read (place, order_id, command_id)
WHERE NOT EXISTS (
    SELECT FROM commands WHERE commands.order_id = read.order_id AND commands.command_id = read.command_id)

-- name: unknown_events
-- Which of these events did not happen here, or not in these words.
SELECT place FROM unnest($1::integer[], $2::text[], $3::bigint[], $4::bytea[]) AS read (place, order_id, sequence, message)
WHERE NOT EXISTS (
    SELECT FROM events
    WHERE events.order_id = read.order_id AND events.sequence = read.sequence AND events.message = read.message)

-- name: unknown_states
-- Which of these states their orders have not reached here.
SELECT place FROM unnest($1::integer[], $2::text[], $3::bigint[]) AS read (place, order_id, version)
WHERE NOT EXISTS (SELECT FROM orders WHERE orders.order_id = read.order_id AND orders.version >= read.version)
