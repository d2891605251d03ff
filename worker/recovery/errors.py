"""Why nothing was taken back: one sentence each."""


class RecoveryError(Exception):
    """Nothing was changed."""
