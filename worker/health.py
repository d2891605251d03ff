"""The HTTP server for a worker's health and metrics."""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from worker.listening import address, listen
from worker.settings import Settings


class HealthServer:
    """Serves `/live`, `/ready` and `/metrics`.

    `condition` returns what is missing for readiness; `measure` is called before metrics are read.
    """

    def __init__(
        self,
        settings: Settings,
        condition: Callable[[], Mapping[str, str]],
        measure: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._settings = settings
        self._condition = condition
        self._measure = measure
        self._runner: web.AppRunner | None = None
        self.port: int | None = None

    async def start(self) -> None:
        """Listens on `OPS_PORT` and prints the port; 0 chooses a free port, unset nothing listens."""
        if self._settings.ops_port is None:
            return
        app = web.Application()
        app.router.add_get("/live", live)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await listen(self._runner, self._settings.ops_host, self._settings.ops_port)
        self.port = port = self._runner.addresses[0][1]
        print(f"ops server on http://{address(self._settings.ops_host, port)}", flush=True)  # noqa: T201 - the contract

    async def stop(self) -> None:
        """Stops listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _ready(self, _: web.Request) -> web.Response:
        return readiness(self._condition())

    async def _metrics(self, request: web.Request) -> web.Response:
        if self._measure is not None:
            await self._measure()
        return await metrics(request)


async def live(_: web.Request) -> web.Response:
    return web.json_response({"live": True})


def readiness(missing: Mapping[str, str]) -> web.Response:
    """The reply to `/ready`: 200 where nothing is missing, else 503."""
    return web.json_response({"ready": not missing, **missing}, status=503 if missing else 200)


async def metrics(_: web.Request) -> web.Response:
    """The reply to `/metrics`, in Prometheus' format."""
    return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
