"""Numbers in the pages are those of the program."""

from pathlib import Path

from worker.kafka import names
from worker.stream.misplaced_rows import POLL_SECONDS
from worker.stream.publisher import UNACKNOWLEDGED_BYTES_MAX

WORDS = {4: "four", 6: "six"}


def text_of(page: Path) -> str:
    """The page on one line, so that a sentence is found wherever its lines break."""
    return " ".join(page.read_text().split())


def test_the_runbook_counts_the_topics_correctly(project: Path):
    sentence = f"all {WORDS[len(names.TOPICS)]} topics and the {WORDS[len(names.DEAD_LETTER_TOPICS)]} `-dlt`"

    assert sentence in text_of(project / "deploy/RUNBOOK.md")


def test_the_runbook_states_the_limit_of_unacknowledged_bytes(project: Path):
    sentence = f"No new cycle begins once {UNACKNOWLEDGED_BYTES_MAX >> 20} MiB wait."

    assert sentence in text_of(project / "deploy/RUNBOOK.md")


def test_the_architecture_page_states_the_polling_interval_of_misplaced_rows(project: Path):
    sentence = f"rows that others wrote for our partitions are looked up every {POLL_SECONDS * 1000:.0f} ms"

    assert sentence in text_of(project / "docs/architecture.md")
