-- As 0017 did for `command_id`: the one index left whose keys are hashes without their order. Both ids are halves of one hash
-- that covers the order, so what this index can still refuse is a second effect within an order (I5); `settlement audit`
-- looks for an id that two orders share.

ALTER TABLE ledger.commands DROP CONSTRAINT commands_request_id_key;
ALTER TABLE ledger.commands ADD UNIQUE (order_id, request_id);
