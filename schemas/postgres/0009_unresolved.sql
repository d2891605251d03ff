-- Commands whose effect is unknown or that wait for a person are few, and are counted often.

CREATE INDEX commands_unresolved ON delivery.commands (partition)
    WHERE state IN ('manual', 'suspect', 'unknown') OR (state = 'waiting' AND uncertain);
