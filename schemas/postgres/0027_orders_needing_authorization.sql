-- Orders that wait for another authorization are listed for people, however many wait. The index has no column that other
-- updates of `orders` change.
ALTER TABLE ledger.orders ADD COLUMN needs_authorization boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN ledger.orders.needs_authorization IS
    'More is invoiced than its payments allow: the rest waits for another one (R16). `settlement order` says how much.';
CREATE INDEX orders_needing_authorization ON ledger.orders (order_id) WHERE needs_authorization;

-- The list of lacks is read as text: a document may hold \u0000, which PostgreSQL reads in no JSON.
UPDATE ledger.orders SET needs_authorization = true
WHERE phase IN ('open', 'invoiced')
    AND split_part(split_part(convert_from(document, 'UTF8'), '"lacks":[[', 2), ']],"demands":', 1) LIKE '%","waiting",%';

-- Programs of before, which may still run, write `standing`.
CREATE TYPE ledger.order_standing AS (
    order_id text, opened boolean, merchant text, phase text, attention boolean, needs_authorization boolean,
    awaits text[], version bigint, facts bigint, told bigint, parked integer, wake_at timestamptz, document bytea,
    updated_at timestamptz
);
COMMENT ON TYPE ledger.order_standing IS 'What a cycle writes of an order: its state now.';
COMMENT ON TYPE ledger.standing IS 'As `order_standing`, of programs that did not write `needs_authorization`.';
