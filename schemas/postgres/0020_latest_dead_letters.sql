-- The latest dead letters are what people look at first: with a million of them every page sorted both tables.

CREATE INDEX dead_letters_latest ON ledger.dead_letters (dead_at, id);
CREATE INDEX dead_letters_latest ON delivery.dead_letters (dead_at, id);

-- No query asks for it.
DROP INDEX delivery.commands_come_short;
