-- The rows that a cycle changes go to the database as one array of these: no column has to be taken apart from the others.

CREATE TYPE ledger.standing AS (
    order_id text, opened boolean, merchant text, phase text, attention boolean, awaits text[], version bigint,
    facts bigint, told bigint, parked integer, wake_at timestamptz, document bytea, updated_at timestamptz
);
COMMENT ON TYPE ledger.standing IS 'What a cycle writes of an order: its state now.';

CREATE TYPE ledger.balances AS (
    payment_id text, settled bigint, settling bigint, refunded bigint, refunding bigint, voided bigint, voiding bigint,
    lapsed boolean
);
COMMENT ON TYPE ledger.balances IS 'What a cycle writes of a payment that is known already.';
