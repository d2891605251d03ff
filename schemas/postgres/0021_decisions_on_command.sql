-- What was decided about a command is shown with it, and in every list of what needs a person: not by reading all decisions.

CREATE INDEX decisions_on_command ON delivery.decisions (command_id) WHERE command_id IS NOT NULL;
