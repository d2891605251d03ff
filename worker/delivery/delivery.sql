-- name: take_over
-- Adds commands that were not taken over before to the schedule; returns them, each with whether it is its turn.
WITH new AS (
    SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[],
        $8::bigint[], $9::text[], $10::integer[], $11::bigint[], $12::bytea[], $13::bytea[], $14::bytea[],
        $15::timestamptz[], $16::text[], $17::timestamptz[], $18::timestamptz[])
        AS n (command_id, partition, order_id, payment_id, sequence, operation, connector, value, topic,
            source_partition, "offset", key, body, headers, "timestamp", traceparent, due_at, taken_at)
)
INSERT INTO commands (command_id, partition, order_id, payment_id, sequence, operation, connector, value, topic,
    source_partition, "offset", key, body, headers, "timestamp", traceparent, due_at, taken_at, turn)
SELECT new.*, sequence = 1 OR EXISTS (
    SELECT FROM commands AS before
    WHERE before.payment_id = new.payment_id AND before.sequence = new.sequence - 1
        AND before.state NOT IN ('waiting', 'suspect', 'unknown'))
FROM new
ON CONFLICT (command_id) DO NOTHING
RETURNING command_id, turn

-- name: pass_turns
-- The next command of each of these payments may be sent now. Its due time may come from another worker's clock.
UPDATE commands SET turn = true, due_at = least(due_at, $3)
FROM unnest($1::text[], $2::integer[]) AS l (payment_id, sequence)
WHERE commands.payment_id = l.payment_id AND commands.sequence = l.sequence + 1 AND commands.state = 'waiting'
    AND NOT turn
RETURNING command_id, connector, due_at

-- name: correct_due_times
-- Shortens waits that a clock ahead of ours has made too long. `ahead`: by how much, if the clock was set back; else 0.
-- A command that was never sent has nothing to wait for; any other waits until `$4` at the latest.
UPDATE commands SET due_at = CASE WHEN attempts = 0 THEN $3 ELSE least(due_at - ahead, $4) END
FROM unnest($1::integer[], $2::interval[]) AS owned (partition, ahead)
WHERE commands.partition = owned.partition AND turn AND state = 'waiting' AND due_at > $3::timestamptz
    AND (attempts = 0 OR ahead > '0' OR due_at > $4::timestamptz)

-- name: next_due
-- A connector's next commands by due time, after the given one.
SELECT due_at, command_id FROM commands
WHERE turn AND state = 'waiting' AND connector = $1 AND (due_at, command_id COLLATE "C") > ($3, $4)
    AND partition = ANY ($2::integer[])
ORDER BY due_at, command_id COLLATE "C" LIMIT $5

-- name: connectors_with_work
-- Every connector for which commands wait.
WITH RECURSIVE found AS (
    (SELECT connector FROM commands WHERE turn AND state = 'waiting' ORDER BY connector LIMIT 1)
    UNION ALL
    SELECT (SELECT connector FROM commands WHERE turn AND state = 'waiting' AND commands.connector > found.connector
            ORDER BY connector LIMIT 1)
    FROM found WHERE found.connector IS NOT NULL
)
SELECT connector FROM found WHERE connector IS NOT NULL

-- name: commands
-- These commands, in any state. `doubts`: their attempts since the first that may have had an effect, without a definite answer.
SELECT command_id, partition, operation, source_partition, "offset", key, body, headers, "timestamp", traceparent, turn,
    state, changes, attempts, begun, uncertain, first_attempt_at, due_at, done,
    (SELECT count(*) FROM attempts a WHERE a.command_id = commands.command_id AND a.begun_at >= first_attempt_at
        AND coalesce(a.fate, 'unknown') = 'unknown')::integer AS doubts
FROM commands WHERE command_id = ANY ($1::text[])

-- name: past_horizon
-- A connector's commands that were sent for a whole horizon without a definite answer, and could be sent again now. They are
-- read by the age of their first attempt before anything else is asked of them: else, as long as PostgreSQL believes that few
-- wait, it reads all that wait.
WITH aged AS MATERIALIZED (
    SELECT * FROM commands WHERE state = 'waiting' AND uncertain AND connector = $1 AND first_attempt_at <= $2
)
SELECT command_id FROM aged WHERE partition = ANY ($3::integer[]) AND turn AND begun IS NULL AND due_at <= $4 LIMIT $5

-- name: attempts_without_result
-- Commands of these partitions with an attempt that began and has no result yet.
SELECT command_id, partition, connector FROM commands
WHERE partition = ANY ($1::integer[]) AND begun IS NOT NULL

-- name: mark_begun
-- An attempt of each of these commands begins. A first attempt in the future was made with a clock that was ahead.
UPDATE commands SET attempts = b.attempt, begun = b.attempt, first_attempt_at = least(first_attempt_at, b.at)
FROM unnest($1::text[], $2::integer[], $3::timestamptz[]) AS b (command_id, attempt, at)
WHERE commands.command_id = b.command_id AND commands.state = 'waiting'

-- name: begin_attempts
-- Attempts are written down before they are sent.
INSERT INTO attempts (command_id, attempt, epoch, begun_at)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::timestamptz[])

-- name: mark_lost
-- Attempts without a result count as unknown: their commands wait until nobody else can still be sending them.
UPDATE commands SET begun = NULL, uncertain = true, due_at = greatest(commands.due_at, l.due_at)
FROM unnest($1::text[], $2::timestamptz[]) AS l (command_id, due_at)
WHERE commands.command_id = l.command_id

-- name: end_attempts
-- The result of each attempt, unless it has one already.
UPDATE attempts SET ended_at = e.at, fate = e.fate, status = e.status, message = e.message, reply = e.reply
FROM unnest($1::text[], $2::integer[], $3::timestamptz[], $4::text[], $5::integer[], $6::text[], $7::text[])
    AS e (command_id, attempt, at, fate, status, message, reply)
WHERE attempts.command_id = e.command_id AND attempts.attempt = e.attempt AND attempts.ended_at IS NULL

-- name: update_commands
-- The new state of commands, unless another attempt is in flight by now.
UPDATE commands SET state = n.state, changes = n.changes, begun = NULL, uncertain = n.uncertain, due_at = n.due_at,
    first_attempt_at = n.first_attempt_at, done = n.done, operation_id = n.operation_id, code = n.code,
    message = n.message, ended_at = n.ended_at
FROM unnest($1::text[], $2::text[], $3::integer[], $4::boolean[], $5::timestamptz[], $6::timestamptz[], $7::bigint[],
    $8::text[], $9::text[], $10::text[], $11::timestamptz[], $12::integer[])
    AS n (command_id, state, changes, uncertain, due_at, first_attempt_at, done, operation_id, code, message, ended_at,
        attempt)
WHERE commands.command_id = n.command_id AND commands.begun IS NOT DISTINCT FROM n.attempt

-- name: used_operations
-- Which of these operation ids belong to a command or an automatic settlement of the payment already.
SELECT payment_id, operation_id, command_id, 0 AS untouched FROM commands
WHERE payment_id = ANY ($1::text[]) AND operation_id = ANY ($2::text[])
UNION ALL
SELECT payment_id, settle_id, NULL, untouched FROM automatic_settlements($1, $2)

-- name: waiting_decisions
-- Decisions of people in these partitions that are not applied yet: the first $2, but no more once the commands before them
-- have $3 bytes. Each partition is read by itself, since with `partition = ANY` all that wait would be read and sorted; and
-- by BETWEEN, since with `=` the primary key gives the same order, and all that were ever applied might be read.
SELECT id, action, order_id, command_id, invoice_number, settle_id, value, operation_id, decided_by, reason, decided_at,
    changes
FROM (
    SELECT first.*, sum(octet_length(body)) OVER (
        ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
    FROM (
        SELECT waiting.* FROM unnest($1::integer[]) AS owned (home), LATERAL (
            SELECT * FROM decisions WHERE partition BETWEEN home AND home AND applied_at IS NULL
            ORDER BY partition, id LIMIT $2
        ) AS waiting
        ORDER BY id LIMIT $2
    ) AS first LEFT JOIN commands USING (command_id)
) AS measured
WHERE coalesce(bytes_before, 0) < $3 ORDER BY id

-- name: mark_applied
-- These decisions are published, or refused because the command had moved on.
UPDATE decisions SET applied_at = $3, refused = answered.refused
FROM unnest($1::bigint[], $2::text[]) AS answered (id, refused) WHERE decisions.id = answered.id

-- name: close_dead_letters
-- Closes the dead letters of commands about which a person has decided. NOT IN: with `= 'open'`, all that are open may be read.
UPDATE dead_letters SET status = d.status, decided_by = d.by, decided_reason = d.reason, decided_at = d.at
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
    AS d (topic, partition, "offset", status, by, reason, at)
WHERE (dead_letters.topic, dead_letters.partition, dead_letters."offset") = (d.topic, d.partition, d."offset")
    AND dead_letters.status NOT IN ('replayed', 'discarded')

-- name: count_unresolved
-- Commands of these partitions that are unknown or wait for a person: how many, and the age of the oldest.
SELECT connector, CASE state WHEN 'waiting' THEN 'asked_again' ELSE state END AS state, count(*) AS number,
    extract(epoch FROM clock_timestamp() - min(coalesce(ended_at, first_attempt_at, taken_at)))::float8 AS age_seconds
FROM commands
WHERE partition = ANY ($1::integer[])
    AND (state IN ('manual', 'suspect', 'unknown') OR (state = 'waiting' AND uncertain))
GROUP BY connector, state
