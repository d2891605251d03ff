"""A test run that skipped the black-box cases says so in its last lines."""

from collections.abc import Generator

import pytest

from tests.acceptance.harness import missing


@pytest.hookimpl(wrapper=True, tryfirst=True)  # so that nothing is written after the notice
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    """Repeats it after the summary, where skipped cases are one line among many."""
    yield
    skipped = any("acceptance/test_cases.py" in report.nodeid for report in terminalreporter.stats.get("skipped", ()))
    if skipped and (sentence := missing()) is not None:
        terminalreporter.section("NOT RUN", red=True, bold=True)
        terminalreporter.write_line(sentence, red=True, bold=True)
