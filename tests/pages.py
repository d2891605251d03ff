"""The pages of the ops view, without the live view beside them."""

from types import SimpleNamespace
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from worker.ops.guard import Guard
from worker.ops.server import Server
from worker.ops.site import Site
from worker.ops.totals import Totals
from worker.settings import Settings

# A complete view that has read no order, and a monitor that has found no problem.
EMPTY_VIEW: Any = SimpleNamespace(totals=Totals(), incomplete_reason=lambda: None, rows=SimpleNamespace(data={}))
QUIET_MONITOR: Any = SimpleNamespace(dead_letters={}, outages=(), is_idle=lambda _: False)


def client_of_pages(
    settings: Settings, reader: Any, view: Any = EMPTY_VIEW, monitor: Any = QUIET_MONITOR
) -> TestClient[Any, Any]:
    """Serves the pages inside its `async with` block."""
    site = Site(settings, Guard(settings), view, monitor, reader)
    return TestClient(TestServer(Server(site).application()))
