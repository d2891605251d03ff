-- After an outage hundreds of thousands of rows may wait. What workers and operators look for among them is found without
-- reading all of them. Each index covers rare rows only, and replaces one: what goes well has no entry in any of these.
-- None has a column that other updates of `orders` change: an index on it would end their HOT updates.

-- Orders whose first missing connector the connectors file names by now. An empty array: the file named all meanwhile.
CREATE INDEX IF NOT EXISTS orders_by_awaited_connector ON ledger.orders (partition, (coalesce(awaits[1], '')))
    WHERE awaits IS NOT NULL;
DROP INDEX ledger.orders_awaiting_connectors;

-- A connector's commands past their horizon; and the gauges of unresolved commands, from the index alone.
CREATE INDEX IF NOT EXISTS commands_unresolved_by_age ON delivery.commands (connector, state, first_attempt_at)
    INCLUDE (partition, ended_at, taken_at)
    WHERE state IN ('manual', 'suspect', 'unknown') OR (state = 'waiting' AND uncertain);
DROP INDEX delivery.commands_unresolved;

-- The latest commands of each kind that a person decides.
CREATE INDEX IF NOT EXISTS commands_for_people_by_age ON delivery.commands (
    state, (coalesce(ended_at, first_attempt_at)) DESC NULLS LAST)
    WHERE state IN ('manual', 'suspect', 'unknown', 'declined');
DROP INDEX delivery.commands_for_people;

-- The first decisions of each partition that are not applied yet.
CREATE INDEX IF NOT EXISTS decisions_to_apply_by_id ON delivery.decisions (partition, id) WHERE applied_at IS NULL;
DROP INDEX delivery.decisions_to_apply;

-- Open dead letters are counted every few seconds, from the index alone.
CREATE INDEX IF NOT EXISTS dead_letters_open_by_reason ON ledger.dead_letters (topic, reason, partition)
    WHERE status = 'open';
CREATE INDEX IF NOT EXISTS dead_letters_open_by_reason ON delivery.dead_letters (topic, reason, partition)
    WHERE status = 'open';
DROP INDEX ledger.dead_letters_open;
DROP INDEX delivery.dead_letters_id_idx;
