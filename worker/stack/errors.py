"""Errors that keep the local stack from running."""


class StackError(Exception):
    """The message is one sentence that a person can act on; no service was left half started."""


class PortTakenError(Exception):
    """Another program listens on the port that this home had stored; any other free port will do."""
