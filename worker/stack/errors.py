"""What can keep the local stack from running."""


class StackError(Exception):
    """One sentence that a person can act on; nothing of the stack was left half started."""


class PortTakenError(Exception):
    """Somebody else listens on the port that this home had kept: another port will do."""
