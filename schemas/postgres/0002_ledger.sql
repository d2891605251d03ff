-- What was decided, and why: orders, their money, the facts that moved it, and what still waits.
--
-- Growth. `orders`, `payments`, `settlements` and `commands` grow with the number of orders and are reached by key only.
-- `facts`, `events` and `entries` grow with everything that ever happened; nothing reads them while a decision is made, and
-- each insert goes to the edge of its order's or its chain's part of the index. Retention: an order that is closed and older
-- than the law asks for leaves with all its rows, except its entries; those are cut off a chain at its old end, and
-- `chains` keeps the last link, so that what remains still proves itself. When one table is to become one per month,
-- `entries` joins a range-partitioned parent as its first partition (ATTACH, no copy): `booked_at` is there for that.

CREATE TABLE ledger.orders (
    order_id text COLLATE "C" PRIMARY KEY,
    partition integer NOT NULL CHECK (partition >= 0),
    opened boolean NOT NULL DEFAULT false,
    merchant text,
    phase text NOT NULL DEFAULT 'open' CHECK (phase IN ('open', 'invoiced', 'finished', 'canceled')),
    attention boolean NOT NULL DEFAULT false,
    awaits text[],
    version bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
    facts bigint NOT NULL DEFAULT 0 CHECK (facts >= 0),
    parked integer NOT NULL DEFAULT 0 CHECK (parked >= 0),
    wake_at timestamptz,
    document bytea,
    updated_at timestamptz,
    CHECK (NOT opened OR (merchant IS NOT NULL AND document IS NOT NULL)),
    CHECK (version = 0 OR document IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX orders_to_wake ON ledger.orders (partition, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX orders_awaiting_connectors ON ledger.orders (partition) WHERE awaits IS NOT NULL;
COMMENT ON TABLE ledger.orders IS
    'One row per order that any fact ever named. Every decision on an order begins by locking its row.';
COMMENT ON COLUMN ledger.orders.partition IS
    'Of the order id (murmur2): its owner wakes the order and publishes for it.';
COMMENT ON COLUMN ledger.orders.opened IS 'False: only facts that wait for the order, or refused ones, have come.';
COMMENT ON COLUMN ledger.orders.attention IS 'A person has to look; `settlement order` says at what.';
COMMENT ON COLUMN ledger.orders.awaits IS
    'The order waits for connectors; these it names and the connectors file did not. NULL: it waits for none.';
COMMENT ON COLUMN ledger.orders.facts IS 'How many rows it has in `facts`: the sequence of the last one.';
COMMENT ON COLUMN ledger.orders.parked IS 'How many rows it has in `parked`.';
COMMENT ON COLUMN ledger.orders.wake_at IS
    'When time itself is the next fact: an authorization is about to lapse or does, or a parked fact gives up.';
COMMENT ON COLUMN ledger.orders.document IS 'The whole order as the domain knows it (JSON): the fold of its facts.';

CREATE TABLE ledger.payments (
    payment_id text COLLATE "C" PRIMARY KEY,
    order_id text COLLATE "C" NOT NULL REFERENCES ledger.orders,
    connector text NOT NULL,
    currency text NOT NULL,
    authorized bigint NOT NULL CHECK (authorized > 0),
    cap bigint NOT NULL,
    settled bigint NOT NULL CHECK (settled >= 0),
    settling bigint NOT NULL CHECK (settling >= 0),
    refunded bigint NOT NULL CHECK (refunded >= 0),
    refunding bigint NOT NULL CHECK (refunding >= 0),
    voided bigint NOT NULL CHECK (voided >= 0),
    voiding bigint NOT NULL CHECK (voiding >= 0),
    lapsed boolean NOT NULL,
    CONSTRAINT cap_covers_authorized CHECK (cap >= authorized),
    CONSTRAINT refunds_within_settled CHECK (refunded + refunding <= settled),
    CONSTRAINT commitments_within_cap CHECK (settled + settling + voided + voiding <= cap)
) WITH (fillfactor = 70);
CREATE INDEX payments_of_order ON ledger.payments (order_id);
COMMENT ON TABLE ledger.payments IS
    'The balances of each payment, in minor units of its currency; the fold of its entries (I8). The CHECKs are I2 and I3.';
COMMENT ON COLUMN ledger.payments.cap IS 'M: the most that may ever be settled and voided.';
COMMENT ON COLUMN ledger.payments.settling IS
    'P, like voiding (D) and refunding (G): asked and not yet ended, unknown and manual ones included.';

CREATE TABLE ledger.settlements (
    payment_id text COLLATE "C" NOT NULL REFERENCES ledger.payments,
    settle_id text COLLATE "C" NOT NULL,
    value bigint NOT NULL CHECK (value > 0),
    refunded bigint NOT NULL CHECK (refunded >= 0),
    refunding bigint NOT NULL CHECK (refunding >= 0),
    automatic boolean NOT NULL,
    PRIMARY KEY (payment_id, settle_id),
    CONSTRAINT refunds_within_settlement CHECK (refunded + refunding <= value)
) WITH (fillfactor = 80);
COMMENT ON TABLE ledger.settlements IS 'Each confirmed capture of a payment and what was refunded of it (I2).';
COMMENT ON COLUMN ledger.settlements.automatic IS 'The gateway captured by itself (R27).';

CREATE TABLE ledger.commands (
    command_id text COLLATE "C" PRIMARY KEY,
    request_id text COLLATE "C" NOT NULL UNIQUE,
    order_id text COLLATE "C" NOT NULL,
    payment_id text COLLATE "C" NOT NULL REFERENCES ledger.payments,
    sequence integer NOT NULL CHECK (sequence > 0),
    operation text NOT NULL CHECK (operation IN ('settle', 'refund', 'cancel')),
    value bigint NOT NULL CHECK (value > 0),
    UNIQUE (payment_id, sequence)
);
COMMENT ON TABLE ledger.commands IS
    'What was asked of connectors, once each: the unique keys are the wall against a second effect (I5). How it ended stands in the order''s document and timeline.';
COMMENT ON COLUMN ledger.commands.sequence IS 'Place in the payment''s line: from 1, no gaps (I6).';

CREATE TABLE ledger.facts (
    order_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    fate text NOT NULL CHECK (fate IN ('applied', 'refused')),
    fact bytea NOT NULL,
    terms bytea NOT NULL,
    topic text,
    partition integer,
    "offset" bigint,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (order_id, sequence),
    CHECK (num_nulls(topic, partition, "offset") IN (0, 3))
);
CREATE UNIQUE INDEX facts_of_record ON ledger.facts (topic, partition, "offset") WHERE topic IS NOT NULL;
COMMENT ON TABLE ledger.facts IS
    'Every fact that left a trace in its order, in the order of application: folded again they give the same order (I8). Of a refused one the event is the trace.';
COMMENT ON COLUMN ledger.facts.fact IS 'JSON; `convert_from(fact, ''UTF8'')` shows it.';
COMMENT ON COLUMN ledger.facts.terms IS 'JSON: time, merchant''s switches and connectors as they were when it was decided.';
COMMENT ON COLUMN ledger.facts.topic IS
    'The record it came in, topic without prefix; NULL: time itself, or the connectors file. One record is at most one fact.';

CREATE TABLE ledger.events (
    order_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    message bytea NOT NULL,
    PRIMARY KEY (order_id, sequence)
);
COMMENT ON TABLE ledger.events IS 'The timeline of each order, as it was told to the events topic (JSON).';

CREATE TABLE ledger.entries (
    chain integer NOT NULL,
    place bigint NOT NULL CHECK (place > 0),
    order_id text COLLATE "C" NOT NULL,
    fact bigint NOT NULL,
    payment_id text COLLATE "C" NOT NULL,
    debit text NOT NULL,
    credit text NOT NULL,
    amount bigint NOT NULL CONSTRAINT one_positive_amount CHECK (amount > 0),
    currency text NOT NULL,
    rule text NOT NULL,
    command_id text COLLATE "C" NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    booked_at timestamptz NOT NULL DEFAULT transaction_timestamp(),
    PRIMARY KEY (chain, place),
    CONSTRAINT two_accounts CHECK (debit <> credit),
    CONSTRAINT known_debit CHECK (debit IN ('issuer', 'authorized', 'headroom', 'settling', 'settled',
        'refunding', 'refunded', 'voiding', 'voided', 'lapsed')),
    CONSTRAINT known_credit CHECK (credit IN ('authorized', 'headroom', 'settling', 'settled',
        'refunding', 'refunded', 'voiding', 'voided', 'lapsed'))
);
CREATE INDEX entries_of_order ON ledger.entries (order_id);
CREATE INDEX entries_by_time ON ledger.entries USING brin (booked_at);
COMMENT ON TABLE ledger.entries IS
    'The ledger: each row moves one positive amount from one account of a payment to another (I1). Append-only (I9), and chained: each hash covers the row and the hash before it.';
COMMENT ON COLUMN ledger.entries.chain IS 'One chain per partition, written by the partition''s owner alone.';
COMMENT ON COLUMN ledger.entries.fact IS 'The sequence, within the order, of the fact that caused it.';
COMMENT ON COLUMN ledger.entries.debit IS 'Where the amount comes from.';
COMMENT ON COLUMN ledger.entries.credit IS 'Where the amount goes.';
COMMENT ON COLUMN ledger.entries.command_id IS 'Empty: no command moved it.';
COMMENT ON COLUMN ledger.entries.booked_at IS 'Not part of the chain: the same facts give the same hashes at any time.';

CREATE FUNCTION ledger.refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: % of %.% is refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', HINT = 'A correction is a new fact.';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_rewriting();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.facts
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_rewriting();
-- Also where session_replication_role = replica switches ordinary triggers off.
ALTER TABLE ledger.entries ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE ledger.facts ENABLE ALWAYS TRIGGER append_only;

CREATE TABLE ledger.chains (
    chain integer PRIMARY KEY,
    place bigint NOT NULL CHECK (place >= 0),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32)
) WITH (fillfactor = 50);
COMMENT ON TABLE ledger.chains IS 'The last entry of each chain: what is missing at its end shows here.';

CREATE TABLE ledger.consumed (
    topic text NOT NULL,
    partition integer NOT NULL,
    records bigint NOT NULL CHECK (records >= 0),
    duplicates bigint NOT NULL CHECK (duplicates >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE ledger.consumed IS
    'How many records were handled, and how many of them were repeats: each of the others is in facts, parked or dead_letters (I7).';
COMMENT ON COLUMN ledger.consumed.next_offset IS
    'One past the highest record that was handled: what lies below and comes again was accounted for.';

CREATE TABLE ledger.parked (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id text COLLATE "C" NOT NULL REFERENCES ledger.orders,
    waits_for text NOT NULL CHECK (waits_for IN ('order', 'payment', 'connectors', 'judgement')),
    subject text,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    value bytea,
    headers bytea NOT NULL,
    "timestamp" timestamptz NOT NULL,
    expires_at timestamptz,
    UNIQUE (topic, partition, "offset"),
    CHECK ((waits_for = 'judgement') = (subject IS NOT NULL))
);
CREATE INDEX parked_of_order ON ledger.parked (order_id, id);
COMMENT ON TABLE ledger.parked IS
    'Records that wait, byte for byte, in the order in which they were stored (R29).';
COMMENT ON COLUMN ledger.parked.waits_for IS
    '`judgement`: an automatic settlement that was accepted and is held against the cap later (R27); its record is kept in case it is suspect.';
COMMENT ON COLUMN ledger.parked.subject IS 'Of what waits for judgement: payment and settle id.';
COMMENT ON COLUMN ledger.parked.headers IS 'A JSON array of [name, value] in base64, value null where there is none.';
COMMENT ON COLUMN ledger.parked.expires_at IS
    'NULL: it does not give up. Only what waits for an order or a payment becomes `order_unknown`.';
