-- The schedule stays in the table: whose turn it is stands in the row, so that the owner holds only the earliest in memory.

ALTER TABLE delivery.commands ADD COLUMN turn boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN delivery.commands.turn IS
    'Everything before it in its payment''s line was taken over and has left the line (I6).';

UPDATE delivery.commands SET turn = true
WHERE sequence = 1 OR EXISTS (
    SELECT FROM delivery.commands AS before
    WHERE before.payment_id = commands.payment_id AND before.sequence = commands.sequence - 1
        AND before.state NOT IN ('waiting', 'suspect', 'unknown'));

DROP INDEX delivery.commands_in_line;
CREATE INDEX commands_to_send ON delivery.commands (connector, due_at, command_id COLLATE "C") INCLUDE (partition)
    WHERE turn AND state = 'waiting';
CREATE INDEX commands_under_way ON delivery.commands (partition) WHERE begun IS NOT NULL;
