"""Ends what a test leaves in this process, so that one that fails does not fail those after it."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.stream.in_process_worker import InProcessWorker
from worker import telemetry


@pytest.fixture(autouse=True)
async def _nothing_left() -> AsyncIterator[None]:
    """Ends workers that the test did not stop, and alerts that last."""
    yield
    await InProcessWorker.end_all()
    for alert in telemetry.lasting_alerts():
        telemetry.clear_alert(alert["code"], alert["connector"])
