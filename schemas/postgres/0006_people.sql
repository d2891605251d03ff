-- What people did, and when a dead letter that was published again came back.

CREATE SCHEMA people;
COMMENT ON SCHEMA people IS 'What people decided, at the command line or in the ops view.';

CREATE TABLE people.acts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    decided_by text NOT NULL CHECK (decided_by <> ''),
    reason text NOT NULL CHECK (reason <> ''),
    through text NOT NULL CHECK (through IN ('command line', 'ops view')),
    action text NOT NULL CHECK (action IN ('retry', 'resolve', 'abandon', 'replay', 'discard')),
    order_id text,
    command_id text,
    invoice_number text,
    settle_id text,
    dead_letter bigint,
    value bigint CHECK (value >= 0),
    operation_id text,
    sent bytea,
    CHECK (num_nonnulls(command_id, invoice_number, settle_id, dead_letter) = 1),
    CHECK (sent IS NULL OR action = 'replay')
);
CREATE INDEX acts_on_dead_letter ON people.acts (dead_letter) WHERE dead_letter IS NOT NULL;
CREATE INDEX acts_on_order ON people.acts (order_id) WHERE order_id IS NOT NULL;
COMMENT ON TABLE people.acts IS
    'Everything that a person asked for: who, when, why and what. Written before it is done; it only grows.';
COMMENT ON COLUMN people.acts.sent IS 'The value that was published instead of the original, where a person edited it.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON people.acts
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_rewriting();
ALTER TABLE people.acts ENABLE ALWAYS TRIGGER append_only;

ALTER TABLE ledger.dead_letters ADD COLUMN returned_partition integer, ADD COLUMN returned_offset bigint,
    ADD COLUMN returned_at timestamptz, ADD CHECK (num_nulls(returned_partition, returned_offset, returned_at) IN (0, 3));
COMMENT ON COLUMN ledger.dead_letters.returned_offset IS
    'Where its replay was read first: that record is judged again, a repeat of it is not.';
ALTER TABLE delivery.dead_letters ADD COLUMN returned_partition integer, ADD COLUMN returned_offset bigint,
    ADD COLUMN returned_at timestamptz, ADD CHECK (num_nulls(returned_partition, returned_offset, returned_at) IN (0, 3));

CREATE INDEX orders_needing_people ON ledger.orders (order_id) WHERE attention;
CREATE INDEX commands_come_short ON delivery.commands (command_id) WHERE state IN ('succeeded', 'resolved') AND done < value;
