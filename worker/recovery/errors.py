"""Why a recovery changed nothing."""


class RecoveryError(Exception):
    """Nothing was changed; the message says why, and what to do."""
