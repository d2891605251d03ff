"""Logs and alerts."""

import atexit
import logging
import sys
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from msgspec import Struct

from worker import metrics
from worker.settings import Settings
from worker.standard_error import StandardError

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Without local variables: they are long, and may hold what must not be in a log.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))

# The pause after each log line about one alert is twice the one before, up to this: some details change all the time.
PAUSE_SECONDS_MAX = 60.0
LOG_LOST = "log_lost"
# How long a program that ends waits for its last log lines to be written.
FLUSH_SECONDS_MAX = 2.0
_standard_error: StandardError | None = None


class _Lasting(Struct):
    """An alert that lasts in this process."""

    since: str
    details: dict[str, str]
    logged: dict[str, str] | None = None
    pause_seconds: float = 1.0
    quiet_until: float = 0.0

    def must_be_logged(self) -> bool:
        """Whether the details differ from the logged ones and the pause is over; if so, counts them as logged."""
        now = monotonic()
        if self.logged == self.details or now < self.quiet_until:
            return False
        self.logged, self.quiet_until = self.details, now + self.pause_seconds
        self.pause_seconds = min(2 * self.pause_seconds, PAUSE_SECONDS_MAX)
        return True


_lasting: dict[tuple[str, str], _Lasting] = {}


def configure(settings: Settings) -> None:
    """Logs to standard error: JSON lines, or lines for people where it is a terminal."""
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
    global _standard_error  # noqa: PLW0603 - there is one
    if _standard_error is None:
        _standard_error = StandardError(_log_failed, _log_written)
        atexit.register(flush)
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(_standard_error),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    _adopt_standard_logging(_standard_error, shared, render)


def flush() -> None:
    """Waits until the log is written, for at most `FLUSH_SECONDS_MAX`. Call it before the process ends abruptly."""
    if _standard_error is not None:
        _standard_error.wait(FLUSH_SECONDS_MAX)


def alert(code: str, connector: str = "", **details: Any) -> None:
    """Sets the gauge until `clear_alert`; logs an error line when the alert begins and when its details change."""
    if _begin(code, connector, **details).must_be_logged():
        names = {"connector": connector} if connector else {}
        log.error("alert", code=code, **names, **details)


def clear_alert(code: str, connector: str = "") -> None:
    """Ends the alert, if it lasts, and logs that once."""
    if _end(code, connector):
        log.info("alert over", code=code, **({"connector": connector} if connector else {}))


def lasting_alerts() -> list[dict[str, str]]:
    """The alerts that last in this process: code, connector, since when, and the latest details."""
    return [
        {"since": one.since, **one.details, "code": code, "connector": connector}
        for (code, connector), one in list(_lasting.items())
    ]


def _begin(code: str, connector: str, **details: Any) -> _Lasting:
    """The alert, which lasts from now on unless it already did, with these details."""
    metrics.alerts.labels(code=code, connector=connector).set(1)
    texts = {name: str(value) for name, value in details.items()}
    lasting = _lasting.get((code, connector))
    if lasting is None:
        since = datetime.now(UTC).isoformat(timespec="milliseconds")
        lasting = _lasting[code, connector] = _Lasting(since, texts)
    lasting.details = texts
    return lasting


def _end(code: str, connector: str) -> bool:
    """Ends the alert; returns whether it lasted."""
    if _lasting.pop((code, connector), None) is None:
        return False
    metrics.alerts.labels(code=code, connector=connector).set(0)
    return True


def _log_failed(why: str) -> None:
    """Raises the alert by its gauge alone, as the log cannot be written; the worker goes on."""
    _begin(LOG_LOST, "", problem=why)


def _log_written(lost: int) -> None:
    if _end(LOG_LOST, ""):
        log.warning("the log could not be written for a while", lines_lost=lost)


def _adopt_standard_logging(
    standard_error: StandardError, shared: list[structlog.typing.Processor], render: list[structlog.typing.Processor]
) -> None:
    """Makes libraries log in our format, and only warnings and errors."""
    handler = logging.StreamHandler(standard_error)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    # While the broker is away aiokafka says so ten times a second, in four ways; our alert says it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").addFilter(_is_not_about_aiokafka)


def _is_not_about_aiokafka(record: logging.LogRecord) -> bool:
    """False for asyncio's reports of errors that nobody awaits in tasks and futures of aiokafka.

    A commit that we gave up goes on in such a task; futures of queued batches stay behind when the session ends.
    """
    problem, message = record.exc_info and record.exc_info[1], record.getMessage()  # False: there was no exception
    return not (isinstance(problem, KafkaError) and ("aiokafka" in message or message.startswith("Future exception")))
