-- name: unknown_commands
-- Which of these commands were not issued here.
SELECT place FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS told (order_id, command_id, place)
WHERE NOT EXISTS (
    SELECT FROM commands WHERE commands.order_id = told.order_id AND commands.command_id = told.command_id)

-- name: unknown_events
-- Which of these events did not happen here, or not in these words.
SELECT place FROM unnest($1::text[], $2::bigint[], $3::bytea[]) WITH ORDINALITY AS told (order_id, sequence, message, place)
WHERE NOT EXISTS (
    SELECT FROM events
    WHERE events.order_id = told.order_id AND events.sequence = told.sequence AND events.message = told.message)

-- name: unknown_states
-- Which of these states their orders have not reached here.
SELECT place FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS told (order_id, version, place)
WHERE NOT EXISTS (SELECT FROM orders WHERE orders.order_id = told.order_id AND orders.version >= told.version)
