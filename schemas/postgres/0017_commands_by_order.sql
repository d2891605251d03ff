-- Ids are hashes: in a large ledger each new one belongs on another page of its index, which has to be read, and written
-- whole after a checkpoint. Two such indexes were most of what a large ledger cost. `request_id` stays unique for itself, as
-- the wall against a second effect (I5); a command's own id is a hash of its order, too, and is looked up with it.

ALTER TABLE ledger.commands DROP CONSTRAINT commands_pkey;
ALTER TABLE ledger.commands ADD PRIMARY KEY (order_id, command_id);
