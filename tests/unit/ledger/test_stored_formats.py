"""Hashes and facts stored by any version are read and written the same (orders: `domain/test_kept.py`)."""

from msgspec import Raw

from worker.ledger import journal
from worker.ledger.chain import link
from worker.ledger.journal import Journaled


def test_the_hash_chain_of_entries_is_the_same_in_every_version():
    """Otherwise an upgrade would make every ledger look forged."""
    first = link(b"", 7, 1, ("o1", 1, "p1", "authorized", "settling", 6000, "USD", "R5", "c1"))
    second = link(first, 7, 2, ("o1", 2, "p1", "settling", "settled", 6000, "USD", "R32", ""))

    assert first.hex() == "fdd6f98d30534f07a9b6528e818ce70d2c15ce17159af82a83a1951a1744ccbb"
    assert second.hex() == "563007599d8a2dc5f49b71fc8d4a99e59d6112c823c80dff2c6a4d37529a966c"


def test_journaled_facts_are_read_as_they_were_written():
    """A ledger is restored from them (`settlement recover`)."""
    written = b'[[1,["erp.invoices.v1",3,42],null,{"fact":"time.passed","order_id":"o1"},{"now_ms":1}]]'
    fact = Journaled(1, ("erp.invoices.v1", 3, 42), None, Raw(b'{"fact":"time.passed","order_id":"o1"}'),
                     Raw(b'{"now_ms":1}'))  # fmt: skip

    assert journal.decode(written) == [fact]
    assert journal.encode([fact]) == written
