-- A leader that lacks the newest records gives their offsets to others, and a position would pass over what gets those below
-- it. So it is kept which leader has all that stands before a position: the leaders after it say whether they have that too.

ALTER TABLE ledger.positions ADD COLUMN leader_epoch integer;
ALTER TABLE delivery.positions ADD COLUMN leader_epoch integer;
COMMENT ON COLUMN ledger.positions.leader_epoch IS
    'The number of the newest leader of the partition that is known to have all that stands before the position; NULL: not known, and not compared.';
COMMENT ON COLUMN delivery.positions.leader_epoch IS
    'The number of the newest leader of the partition that is known to have all that stands before the position; NULL: not known, and not compared.';
