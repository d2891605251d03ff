"""OpenTelemetry spans: on where the extra `traces` is installed and OTEL_EXPORTER_OTLP_ENDPOINT is set.

The ERP's own `traceparent` is carried through both outboxes and over both topics, byte for byte. Each step's span is
its child, and is made after the step: so nothing waits for a collector, and a retry after a crash changes no record.
"""

import os
from collections.abc import Callable, Mapping
from importlib.metadata import version

from worker.telemetry import log

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

# Takes name, traceparent, begin and end in nanoseconds of the wall clock, attributes.
RecordSpan = Callable[[str, str, int, int, Mapping[str, str | int]], None]


class Tracing:
    """Records spans, where tracing was configured."""

    def __init__(self) -> None:
        self._record: RecordSpan | None = None
        self._stop: Callable[[], None] = lambda: None

    @property
    def on(self) -> bool:
        """Whether spans are recorded."""
        return self._record is not None

    def configure(self, service: str) -> None:
        """Begins to export spans, if an endpoint is set."""
        if not any(os.environ.get(name) for name in ENDPOINTS):
            return
        try:
            self._record, self._stop = _exporting(service)
        except ImportError:
            log.warning("no traces: install the extra, partial-settlement[traces]")

    def span(
        self, name: str, traceparent: str | None, began_ns: int, ended_ns: int, attributes: Mapping[str, str | int]
    ) -> None:
        """Records a finished step as a child of `traceparent`; without one there is no trace to join."""
        if self._record is not None and traceparent is not None:
            self._record(name, traceparent, began_ns, ended_ns, attributes)

    def stop(self) -> None:
        """Exports the remaining spans."""
        self._stop()


tracing = Tracing()


def _exporting(service: str) -> tuple[RecordSpan, Callable[[], None]]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    provider = TracerProvider(
        resource=Resource.create({"service.name": service, "service.version": version("partial-settlement")})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer, propagator = provider.get_tracer("partial-settlement"), TraceContextTextMapPropagator()

    def record(name: str, traceparent: str, began_ns: int, ended_ns: int, attributes: Mapping[str, str | int]) -> None:
        parent = propagator.extract({"traceparent": traceparent})
        kind = SpanKind.CLIENT if name.startswith("POST") else SpanKind.CONSUMER
        tracer.start_span(name, parent, kind, attributes, start_time=began_ns).end(ended_ns)

    return record, provider.shutdown
