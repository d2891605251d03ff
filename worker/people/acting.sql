-- name: write_act
-- Who did what to a command or an amount, and why.
INSERT INTO people.acts (decided_by, reason, through, action, order_id, command_id, invoice_number, settle_id, value,
    operation_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: write_acts
-- Who did what to dead letters, and why; with what is sent instead of an edited one.
INSERT INTO people.acts (decided_by, reason, through, action, dead_letter, order_id, sent)
SELECT $1, $2, $3, $4, one.* FROM unnest($5::bigint[], $6::text[], $7::bytea[]) AS one (dead_letter, order_id, sent)

-- name: acts_on_dead_letter
-- What people did about one dead letter, oldest first.
SELECT at, action, decided_by, reason, through, sent FROM people.acts WHERE dead_letter = $1 ORDER BY id

-- name: acts_on_order
-- What people did about one order, oldest first.
SELECT at, action, decided_by, reason, through, command_id, invoice_number, settle_id, dead_letter, value, operation_id
FROM people.acts WHERE order_id = $1 ORDER BY id
