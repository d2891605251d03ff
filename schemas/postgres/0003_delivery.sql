-- The delivery worker: every command it took over, every attempt it made, and what people decided.

CREATE TABLE delivery.commands (
    command_id text PRIMARY KEY,
    partition integer NOT NULL,
    order_id text NOT NULL,
    payment_id text NOT NULL,
    sequence integer NOT NULL CHECK (sequence > 0),
    operation text NOT NULL CHECK (operation IN ('settle', 'refund', 'cancel')),
    connector text NOT NULL,
    value bigint NOT NULL CHECK (value > 0),
    topic text NOT NULL,
    source_partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    body bytea NOT NULL,
    headers bytea NOT NULL,
    "timestamp" timestamptz NOT NULL,
    traceparent text,
    state text NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'succeeded', 'declined', 'manual', 'suspect', 'unknown', 'resolved', 'abandoned')),
    changes integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    begun integer,
    uncertain boolean NOT NULL DEFAULT false,
    first_attempt_at timestamptz,
    due_at timestamptz NOT NULL,
    done bigint NOT NULL DEFAULT 0,
    operation_id text,
    code text,
    message text,
    taken_at timestamptz NOT NULL,
    ended_at timestamptz,
    UNIQUE (payment_id, sequence)
) WITH (fillfactor = 70);
CREATE INDEX commands_in_line ON delivery.commands (partition) WHERE state IN ('waiting', 'suspect', 'unknown');
CREATE INDEX commands_for_people ON delivery.commands (command_id) WHERE state IN ('manual', 'suspect', 'unknown', 'declined');
CREATE INDEX commands_of_order ON delivery.commands (order_id);
CREATE INDEX commands_by_operation ON delivery.commands (payment_id, operation_id) WHERE operation_id IS NOT NULL;
COMMENT ON TABLE delivery.commands IS
    'The schedule: every command that was taken over, with its record byte for byte, and what became of it.';
COMMENT ON COLUMN delivery.commands.changes IS 'How often its state changed: the same decision of a person acts once per state.';
COMMENT ON COLUMN delivery.commands.begun IS 'The attempt whose first byte may have left and whose result is not written down.';
COMMENT ON COLUMN delivery.commands.uncertain IS 'An earlier attempt is unknown: a refusal proves nothing any more (R35).';

CREATE TABLE delivery.attempts (
    command_id text NOT NULL REFERENCES delivery.commands,
    attempt integer NOT NULL,
    epoch bigint NOT NULL,
    begun_at timestamptz NOT NULL,
    ended_at timestamptz,
    fate text,
    status integer,
    message text,
    PRIMARY KEY (command_id, attempt)
);
COMMENT ON TABLE delivery.attempts IS 'Each attempt, written down before its first byte; without an end its result is unknown.';

CREATE TABLE delivery.decisions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action text NOT NULL CHECK (action IN ('retry', 'resolve', 'abandon')),
    partition integer NOT NULL,
    order_id text NOT NULL,
    command_id text REFERENCES delivery.commands,
    invoice_number text,
    settle_id text,
    changes integer,
    value bigint CHECK (value >= 0),
    operation_id text,
    decided_by text NOT NULL CHECK (decided_by <> ''),
    reason text NOT NULL CHECK (reason <> ''),
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_at timestamptz,
    refused text,
    UNIQUE NULLS NOT DISTINCT (
        order_id, command_id, invoice_number, settle_id, action, changes, value, operation_id, decided_by, reason),
    CHECK (num_nonnulls(command_id, invoice_number, settle_id) = 1)
);
CREATE INDEX decisions_to_apply ON delivery.decisions (partition) WHERE applied_at IS NULL;
COMMENT ON TABLE delivery.decisions IS
    'What people decided, with name and reason; the owner of the partition applies and publishes it.';
