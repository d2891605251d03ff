"""A ring that is green without its cases says so, in its last words."""

from collections.abc import Generator

import pytest

from tests.acceptance.harness import missing


@pytest.hookimpl(wrapper=True, tryfirst=True)  # so that nothing is written after it
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    """Skipped cases are one line among many; that nothing was tested is more."""
    yield
    skipped = any("acceptance/test_cases.py" in report.nodeid for report in terminalreporter.stats.get("skipped", ()))
    if skipped and (sentence := missing()) is not None:
        terminalreporter.section("NOT RUN", red=True, bold=True)
        terminalreporter.write_line(sentence, red=True, bold=True)
