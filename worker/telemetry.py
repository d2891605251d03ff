"""Logs, alerts, and the small server that shows how a worker is."""

import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from worker import metrics
from worker.settings import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Without local variables: they are long, and may hold what must not be in a log.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))

_lasting: dict[tuple[str, str], dict[str, str]] = {}


def configure(settings: Settings) -> None:
    """JSON lines, or lines for a person where a person is looking. Everything goes to standard error."""
    as_json = settings.log_format == "json" or (settings.log_format is None and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[structlog.typing.Processor] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _adopt_standard_logging(shared, render)


def alert(code: str, connector: str = "", **details: Any) -> None:
    """One error line when it begins; the gauge stays 1 until `clear_alert`."""
    metrics.alerts.labels(code=code, connector=connector).set(1)
    if (code, connector) not in _lasting:
        said = {name: str(value) for name, value in details.items()}
        _lasting[code, connector] = {"since": datetime.now(UTC).isoformat(timespec="milliseconds"), **said}
        names = {"connector": connector} if connector else {}
        log.error("alert", code=code, **names, **details)


def clear_alert(code: str, connector: str = "") -> None:
    """The reason is gone; said once."""
    if (code, connector) in _lasting:
        del _lasting[code, connector]
        metrics.alerts.labels(code=code, connector=connector).set(0)
        log.info("alert over", code=code, **({"connector": connector} if connector else {}))


def lasting_alerts() -> list[dict[str, str]]:
    """What lasts in this process: code, connector, since when, and the details that were given as it began."""
    return [{**said, "code": code, "connector": connector} for (code, connector), said in _lasting.items()]


def count_fact(topic: str, fate: str, number: int = 1) -> None:
    """Every consumed message is accounted for exactly once: applied, duplicate, parked or dead-lettered."""
    metrics.facts_total.labels(topic=topic, fate=fate).inc(number)


class OpsServer:
    """`/live`, `/ready` and `/metrics` of a worker.

    `condition` says what is missing for readiness; `measure` is called before each look at the metrics.
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
        """Where `OPS_PORT` is unset nothing listens; with 0 the chosen port is printed."""
        if self._settings.ops_port is None:
            return
        app = web.Application()
        app.router.add_get("/live", self._live)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.ops_host, self._settings.ops_port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        print(f"ops server on http://{self._settings.ops_host}:{self.port}", flush=True)  # noqa: T201 - the contract

    async def stop(self) -> None:
        """Answers nothing more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _: web.Request) -> web.Response:
        missing = dict(self._condition())
        return web.json_response({"ready": not missing, **missing}, status=503 if missing else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        if self._measure is not None:
            await self._measure()
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _adopt_standard_logging(shared: list[structlog.typing.Processor], render: list[structlog.typing.Processor]) -> None:
    """Libraries log in our shape, and only what is worth a look."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    # While the broker is away aiokafka says so ten times a second, in four ways; our alert says it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
