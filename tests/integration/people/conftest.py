"""People decide beside a ledger whose cycles the tests turn by hand."""

from tests.integration.ledger.conftest import ledger

__all__ = ["ledger"]
